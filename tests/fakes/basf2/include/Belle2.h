// The classes of the experiment's software that calibrations use, for tests: the public interface, and no more.
#pragma once

#include "IntervalOfValidity.h"
#include "Database.h"
#include "CalibrationAlgorithm.h"
#include "TestAlgorithms.h"
