// The hardware as the kernel sees it: time and stalls.
#include "ki.h"

ULONG64 HalpQueryTime(VOID)
{
    return HalpMachineCall(ServiceQueryTime, 0, 0, 0, 0);
}

LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER Frequency)
{
    LARGE_INTEGER Counter;

    if (Frequency)
        Frequency->QuadPart = 10000000;
    Counter.QuadPart = (LONGLONG)HalpQueryTime();
    return Counter;
}

VOID KeStallExecutionProcessor(ULONG Microseconds)
{
    ULONG64 End = HalpQueryTime() + (ULONG64)Microseconds * 10;

    while (HalpQueryTime() < End)
        YieldProcessor();
}
