"""Lightning callbacks that report on training; each works alone, with any module that logs the same names."""
