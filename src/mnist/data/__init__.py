"""The IDX files on disk: fetch writes them, train and evaluate read them."""
