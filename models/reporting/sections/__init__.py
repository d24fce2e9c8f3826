"""The sections of the page: pure functions from facts to the variables of their templates."""
