"""Parts of the page, one kind of result a file."""
