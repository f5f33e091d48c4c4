// The order in which the system comes up.
#include "ke/ki.h"

#define PHASE0_INITIALIZATION_FAILED 0x31
#define PHASE1_INITIALIZATION_FAILED 0x32
#define DBG_STATUS_DEBUG_CONTROL 6

ULONG NtBuildNumber = 0xF0000000 | 19041;   // the bits above say: a free build
CHAR NtBuildLab[128] = {0};
CHAR NtBuildLabEx[128] = {0};
ULONG NtGlobalFlag = 0;
ULONG NtGlobalFlag2 = 0;
ULONG CmNtCSDVersion = 0;

// Phase 0: one processor, on the boot thread, which becomes the idle thread.
VOID KiInitializeKernel(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    memcpy(NtBuildLab, LoaderBlock->BuildLab, LoaderBlock->BuildLabLength);
    memcpy(NtBuildLabEx, LoaderBlock->BuildLab, LoaderBlock->BuildLabLength);
    MmInitSystem(LoaderBlock);
    KdInitSystem(LoaderBlock);
    ExInitPoolPhase0(LoaderBlock);
    if (!ObInitSystem() || !SeInitSystem() || !PsInitSystem(LoaderBlock))
        KeBugCheckEx(PHASE0_INITIALIZATION_FAILED, 0, 0, 0, 0);
    KiSaveProcessorControlState(&KeGetCurrentPrcb()->ProcessorState);
}

// Once the system has come up its first thread waits for free pages to clear. None need it yet.
static VOID MmZeroPageThread(VOID)
{
    KeSetPriorityThread(KeGetCurrentThread(), 0);
    for (;;)
        KeWaitForSingleObject(&MiSystemPartition.Zeroing.PageEvent, WrFreePage, KernelMode, FALSE,
                              NULL);
}

// Let every thread made during boot run until it waits, so that the machine is found at rest.
static VOID KiSettle(VOID)
{
    LARGE_INTEGER Interval = {.QuadPart = -200000};     // 20 ms

    KeDelayExecutionThread(KernelMode, FALSE, &Interval);
}

// Phase 1: a system thread, with the scheduler running.
VOID Phase1Initialization(PVOID Context)
{
    PKDSIM_LOADER_BLOCK LoaderBlock = Context;
    HANDLE Handle;

    PspStartSystemThreads();
    KeStartAllProcessors();
    ExpWorkerInitialization();
    VfInitSystem(LoaderBlock);
    if (!IoInitSystem(LoaderBlock))
        KeBugCheckEx(PHASE1_INITIALIZATION_FAILED, 0, 0, 0, 0);
    PspCreateBootProcesses(LoaderBlock);
    KiSettle();
    // On this processor, where it waits its turn until this thread waits: no work begins before the
    // debugger had its break.
    if (NT_SUCCESS(PspCreateBoundSystemThread(&Handle, KeGetCurrentProcessorNumber(),
                                              LabsvcSchedule, LoaderBlock)))
        ZwClose(Handle);
    if (LoaderBlock->BreakAtBoot && KdDebuggerEnabled)
        DbgBreakPointWithStatus(DBG_STATUS_DEBUG_CONTROL);
    KeInitializeEvent(&MiSystemPartition.Zeroing.PageEvent, SynchronizationEvent, FALSE);
    MmZeroPageThread();
}
