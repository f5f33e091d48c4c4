// The kernel core's own declarations.
#pragma once
#include "ntos.h"

#define THREAD_WAIT_OBJECTS 3
#define TIMER_WAIT_BLOCK 3
#define WaitBlockActive 4
#define WaitBlockInactive 5
#define THREAD_QUANTUM (2 * CLOCK_INCREMENT)   // 31.25 ms, a short quantum of Windows
#define EVENT_INCREMENT 1

// One lock protects threads, dispatcher objects, ready queues and timers. It is taken at
// DISPATCH_LEVEL and stays held across KiSwapContext: the thread that runs next releases it.
extern KSPIN_LOCK KiDispatcherLock;
extern ULONG64 KiDispatcherIpis;            // sent when the lock is free: a receiver may want it
extern ULONG64 KiBootTime;                  // FILETIME at power-on

KIRQL KiAcquireDispatcherLock(VOID);        // raises to DISPATCH_LEVEL
VOID KiReleaseDispatcherLock(VOID);         // leaves the IRQL alone
VOID KiExitDispatcher(KIRQL OldIrql);       // releases the lock, lowers, lets a better thread run

// start
DECLSPEC_NORETURN VOID KiStartUserThread(VOID);
VOID KiSwapContext(PKTHREAD OldThread, PKTHREAD NewThread);
VOID KiLoadDescriptorTables(PVOID Gdt, PVOID Idt, USHORT Tss);
VOID KiStartProcessor(PKDSIM_PROCESSOR Processor);
VOID HalProcessorIdle(VOID);
VOID KiInitializePcr(ULONG Number, PKDSIM_PROCESSOR Processor);
DECLSPEC_NORETURN VOID KiIdleLoop(VOID);
VOID KeStartAllProcessors(VOID);
PETHREAD PspCreateIdleThread(ULONG Number);
VOID KiInitializeKernel(PKDSIM_LOADER_BLOCK LoaderBlock);

// threads (dispatcher lock held)
VOID KiReadyThread(PKTHREAD Thread);
NTSTATUS KiSwapThread(PKTHREAD Thread);
NTSTATUS KiCommitThreadWait(PKTHREAD Thread, KIRQL WaitIrql, PLARGE_INTEGER Timeout);
PKTHREAD KiSelectNextThread(PKPRCB Prcb);
VOID KiQuantumEnd(PKPRCB Prcb);
VOID KiDispatchInterrupt(VOID);

// waits (dispatcher lock held)
VOID KiUnwaitThread(PKTHREAD Thread, NTSTATUS Status);
VOID KiWaitTest(PDISPATCHER_HEADER Object);

// timers
BOOLEAN KiInsertTimer(PKTIMER Timer, LARGE_INTEGER DueTime);
BOOLEAN KiRemoveTimer(PKTIMER Timer);
VOID KiTimerExpiration(PKPRCB Prcb);
VOID KiInitializeTimerTable(PKPRCB Prcb);
ULONG64 KiNextTimerDue(PKPRCB Prcb);
extern ULONG64 KiClockDue[];
VOID KiProgramClock(PKPRCB Prcb);

// DPCs and interrupts. KPRCB.DpcRequestSummary changes at several IRQLs: interlocked only.
#define DPC_ACTIVE 0x01
#define DPC_TIMER_EXPIRATION 0x08
#define DPC_PRESENT 0x10
FORCEINLINE VOID KiRequest(PKPRCB Prcb, LONG Bits)
{
    __atomic_or_fetch(&Prcb->DpcRequestSummary, Bits, __ATOMIC_SEQ_CST);
}
FORCEINLINE VOID KiUnrequest(PKPRCB Prcb, LONG Bits)
{
    __atomic_and_fetch(&Prcb->DpcRequestSummary, ~Bits, __ATOMIC_SEQ_CST);
}
BOOLEAN KiPendingWork(PKPRCB Prcb);
VOID KiRetireDpcList(PKPRCB Prcb);
VOID KiInterruptSubDispatchNoLockNoEtw(PKTRAP_FRAME TrapFrame);
VOID KiIpiInterruptSubDispatch(PKTRAP_FRAME TrapFrame);
VOID KiExitInterrupt(PKTRAP_FRAME TrapFrame);
VOID KiIpiSend(ULONG Processor);
VOID KeAccumulateTicks(PKTRAP_FRAME TrapFrame);

// exceptions
VOID KeContextFromKframes(PKTRAP_FRAME TrapFrame, PKEXCEPTION_FRAME ExceptionFrame,
                          PCONTEXT Context);
VOID KeContextToKframes(PKTRAP_FRAME TrapFrame, PKEXCEPTION_FRAME ExceptionFrame, PCONTEXT Context);
VOID KiSaveProcessorControlState(PKPROCESSOR_STATE State);
DECLSPEC_NORETURN VOID KeBugCheck2(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3,
                                   ULONG_PTR P4, PKTRAP_FRAME TrapFrame);
DECLSPEC_NORETURN VOID PspUnhandledExceptionInSystemThread(PEXCEPTION_POINTERS Pointers);

// interrupt.c
VOID KiConnectClockInterrupt(PKPRCB Prcb);

// clock.c
BOOLEAN HalpTimerClockInterrupt(PKINTERRUPT Interrupt, PVOID TrapFrame);

// kiinit.c
VOID KiSetGate(PKIDTENTRY64 Entry, VOID (*Handler)(VOID), UCHAR Dpl, UCHAR Ist);
