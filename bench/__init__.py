"""What things cost here, against floors written by hand and against others. Run `make bench PART=toolkit`."""
