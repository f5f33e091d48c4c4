// The clock interrupt and the shared time fields.
#include "ki.h"

ULONG KeTimeIncrement = CLOCK_INCREMENT;
ULONG KeMaximumIncrement = CLOCK_INCREMENT;
ULONG64 KiBootTime = 0;
KSPIN_LOCK KiTimeUpdateLock = 0;

static VOID KiSetSystemTime(volatile KSYSTEM_TIME *Target, ULONG64 Value)
{
    Target->High2Time = (LONG)(Value >> 32);
    Target->LowPart = (ULONG)Value;
    Target->High1Time = (LONG)(Value >> 32);
}

// Brings KUSER_SHARED_DATA up to the machine's clock, whichever processor comes first.
ULONG64 KeUpdateSystemTime(VOID)
{
    ULONG64 Now = HalpQueryTime(), Ticks = Now / CLOCK_INCREMENT;
    volatile KUSER_SHARED_DATA *Shared = SHARED_USER_DATA;

    if (__atomic_exchange_n(&KiTimeUpdateLock, 1, __ATOMIC_ACQUIRE))
        return Now;
    KiSetSystemTime(&Shared->InterruptTime, Now);
    KiSetSystemTime(&Shared->SystemTime, KiBootTime + Now);
    KiSetSystemTime(&Shared->TickCount, Ticks);
    KiTimeUpdateLock = 0;
    return Now;
}

// Charge time, look for expired timers and the quantum's end, and for a debugger that wants in.
VOID KeAccumulateTicks(PKTRAP_FRAME TrapFrame)
{
    PKPRCB Prcb = KeGetCurrentPrcb();
    PKTHREAD Thread = Prcb->CurrentThread;
    ULONG64 Now = KeUpdateSystemTime();
    ULONG Tick = (ULONG)(Now / CLOCK_INCREMENT), Elapsed = Tick - Prcb->LastTick;

    Prcb->LastTick = Tick;
    Prcb->ClockInterrupts++;
    KiClockDue[Prcb->Number] = 0;           // the interrupt used it up
    if (TrapFrame->PreviousIrql > DISPATCH_LEVEL)
        Prcb->InterruptTime += Elapsed;
    else if (TrapFrame->PreviousIrql == DISPATCH_LEVEL && Thread != Prcb->IdleThread)
        Prcb->DpcTime += Elapsed;
    Prcb->KernelTime += Elapsed;
    Thread->KernelTime += Elapsed;
    if (Thread != Prcb->IdleThread && Now >= Thread->QuantumTarget)
        Prcb->QuantumEnd = TRUE;
    if (KiNextTimerDue(Prcb) <= Now)
        KiRequest(Prcb, DPC_TIMER_EXPIRATION);      // which programs the clock again
    else
        KiProgramClock(Prcb);
    KdCheckForDebugBreak();
}

static VOID KeClockInterruptNotify(PKTRAP_FRAME TrapFrame)
{
    KeAccumulateTicks(TrapFrame);
}

BOOLEAN HalpTimerClockInterrupt(PKINTERRUPT Interrupt, PVOID TrapFrame)
{
    KeClockInterruptNotify(TrapFrame);
    return TRUE;
}

static VOID KiCallInterruptServiceRoutine(PKTRAP_FRAME TrapFrame)
{
    PKINTERRUPT Interrupt = KeGetCurrentPrcb()->InterruptObject[CLOCK_VECTOR];

    HalpTimerClockInterrupt(Interrupt, TrapFrame);
}

VOID KiInterruptSubDispatchNoLockNoEtw(PKTRAP_FRAME TrapFrame)
{
    PKPRCB Prcb = KeGetCurrentPrcb();

    __writecr8(CLOCK_LEVEL);
    Prcb->NestingLevel++;
    Prcb->InterruptCount++;
    _enable();
    KiCallInterruptServiceRoutine(TrapFrame);
    _disable();
    Prcb->NestingLevel--;
    KiExitInterrupt(TrapFrame);
}

// With interrupts off. Work for DISPATCH_LEVEL is done on the way out when the interrupted code ran
// below it.
VOID KiExitInterrupt(PKTRAP_FRAME TrapFrame)
{
    while (TrapFrame->PreviousIrql < DISPATCH_LEVEL && KiPendingWork(KeGetCurrentPrcb())) {
        __writecr8(DISPATCH_LEVEL);
        _enable();
        KiDispatchInterrupt();
        _disable();
    }
    __writecr8(TrapFrame->PreviousIrql);
}

ULONG64 KeQueryInterruptTime(VOID)
{
    return HalpQueryTime();
}

VOID KeQuerySystemTimePrecise(PLARGE_INTEGER Time)
{
    Time->QuadPart = (LONGLONG)(KiBootTime + HalpQueryTime());
}

ULONG KeQueryTimeIncrement(VOID)
{
    return KeTimeIncrement;
}
