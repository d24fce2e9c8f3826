"""Parts of `prep report`: facts, findings, plots and pages, one module per topic."""
