"""Initial weights from another model (`--init_from`): what moves, what begins fresh, and what is refused."""
