"""What is said of a receipt: words, numbers and sentences, wherever they are shown."""
