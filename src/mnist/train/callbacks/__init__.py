"""Lightning callbacks that report on training; they work with any module that logs the same names."""
