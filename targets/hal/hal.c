// hal.dll's own code: nothing is left to initialise.
#include "ntddk.h"

BOOLEAN HalInitSystem(ULONG Phase, PVOID LoaderBlock)
{
    return TRUE;
}
