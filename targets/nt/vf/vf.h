// Driver Verifier.
#pragma once
#include "ex/ex.h"

VOID VfFreePoolNotification(PVOID P, PVOID BlockEnd, ULONG PoolType);
