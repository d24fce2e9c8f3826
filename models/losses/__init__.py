"""What is asked of a recommender while it trains: columns and losses."""
