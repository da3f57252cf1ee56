# What a site sources before it uses the experiment's software; here the stand-in for it.
_fake_basf2=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH="$_fake_basf2/bin:$PATH"
export PYTHONPATH="$_fake_basf2/python${PYTHONPATH:+:$PYTHONPATH}"
export BELLE2_RELEASE=fake-01-00-00
unset _fake_basf2
