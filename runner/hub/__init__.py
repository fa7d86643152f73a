"""The Hugging Face hub: what a plan names there is fetched, or found in its cache."""
