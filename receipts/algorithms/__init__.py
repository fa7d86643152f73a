"""What is to be known of single kinds of key, below the files that hold them."""
