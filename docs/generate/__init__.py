"""What the site shows that is not written by hand: each module returns the Markdown of one page."""
