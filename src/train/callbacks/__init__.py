"""Lightning callbacks that report on training; each works with any module that logs the same names."""
