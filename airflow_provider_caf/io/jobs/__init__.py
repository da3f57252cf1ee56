"""Jobs on a batch system: submit them once, watch them, judge what became of them, deal with those that are held."""
