"""Parts of `models report`: facts about runs, plots and the HTML page."""
