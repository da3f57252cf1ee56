#!/bin/bash
# One element of the array caf_0123456789.
(umask 077; : >>'/w/it'"'"'s $(touch broken)/element_'0.log) && exec >>'/w/it'"'"'s $(touch broken)/element_'0.log 2>&1 || exit 125
cd '/w/it'"'"'s $(touch broken)' || exit 125
exec python3 /w/app.pyz subjob --array '/w/it'"'"'s $(touch broken)/array.json' --first 0 --element 0
