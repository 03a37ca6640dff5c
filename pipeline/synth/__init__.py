"""`skelepipe synth`: synthetic recordings in each data set's file format. Uses sources and convert."""
