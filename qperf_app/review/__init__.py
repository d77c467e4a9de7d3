"""``qperf review``: look at outlines and input function in a browser, correct them, compute again."""
