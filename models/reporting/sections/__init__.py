"""The sections of the page, each a pure function from facts to HTML."""
