"""What a recommender reads: histories, features and batches."""
