// A processor's control region, descriptor tables and first steps.
#include "ki.h"

ULONG KeNumberProcessors = 0;
KAFFINITY_EX KeActiveProcessors = {1, 20, 0, {0}};
PKPRCB KiProcessorBlock[0x500] = {0};
ULONG KeMaximumProcessors = MAXIMUM_PROCESSORS;
USHORT KeNumberNodes = 1;
KNODE ExNode0 = {0};
PKNODE KeNodeBlock[64] = {&ExNode0};
ULONG64 KeFeatureBits = 0;
UCHAR KiKvaShadow = 0;
ULONG HvlpFlags = 0;
PKDSIM_LOADER_BLOCK KeLoaderBlock = NULL;
EPROCESS KiInitialProcess = {0};
ETHREAD KiInitialThread = {0};
LIST_ENTRY KiProcessListHead = {&KiProcessListHead, &KiProcessListHead};
ULONG64 KiWaitNever = 0;
ULONG64 KiWaitAlways = 0;
static CONTEXT KiProcessorContext[MAXIMUM_PROCESSORS];

VOID KiDivideErrorFault(VOID);
VOID KiDebugTrapOrFault(VOID);
VOID KiNmiInterrupt(VOID);
VOID KiBreakpointTrap(VOID);
VOID KiOverflowTrap(VOID);
VOID KiBoundFault(VOID);
VOID KiInvalidOpcodeFault(VOID);
VOID KiNpxNotAvailableFault(VOID);
VOID KiDoubleFaultAbort(VOID);
VOID KiNpxSegmentOverrunAbort(VOID);
VOID KiInvalidTssFault(VOID);
VOID KiSegmentNotPresentFault(VOID);
VOID KiStackFault(VOID);
VOID KiGeneralProtectionFault(VOID);
VOID KiPageFault(VOID);
VOID KiFloatingErrorFault(VOID);
VOID KiAlignmentFault(VOID);
VOID KiMcheckAbort(VOID);
VOID KiXmmException(VOID);
VOID KiRaiseSecurityCheckFailure(VOID);
VOID KiRaiseAssertion(VOID);
VOID KiDebugServiceTrap(VOID);
VOID KiUnexpectedInterrupt(VOID);
VOID KiInterruptDispatchNoLockNoEtw(VOID);
VOID KiIpiInterrupt(VOID);

static const struct {
    UCHAR Vector, Dpl, Ist;
    VOID (*Handler)(VOID);
} KiInterruptInitTable[] = {
    {0x00, 0, 0, KiDivideErrorFault},
    {0x01, 0, 0, KiDebugTrapOrFault},
    {0x02, 0, 3, KiNmiInterrupt},
    {0x03, 3, 0, KiBreakpointTrap},
    {0x04, 3, 0, KiOverflowTrap},
    {0x05, 0, 0, KiBoundFault},
    {0x06, 0, 0, KiInvalidOpcodeFault},
    {0x07, 0, 0, KiNpxNotAvailableFault},
    {0x08, 0, 1, KiDoubleFaultAbort},
    {0x09, 0, 0, KiNpxSegmentOverrunAbort},
    {0x0A, 0, 0, KiInvalidTssFault},
    {0x0B, 0, 0, KiSegmentNotPresentFault},
    {0x0C, 0, 0, KiStackFault},
    {0x0D, 0, 0, KiGeneralProtectionFault},
    {0x0E, 0, 0, KiPageFault},
    {0x10, 0, 0, KiFloatingErrorFault},
    {0x11, 0, 0, KiAlignmentFault},
    {0x12, 0, 0, KiMcheckAbort},
    {0x13, 0, 0, KiXmmException},
    {0x29, 3, 0, KiRaiseSecurityCheckFailure},
    {0x2C, 3, 0, KiRaiseAssertion},
    {0x2D, 3, 0, KiDebugServiceTrap},
    {CLOCK_VECTOR, 0, 0, KiInterruptDispatchNoLockNoEtw},
    {IPI_VECTOR, 0, 0, KiIpiInterrupt},
};

VOID KiSetGate(PKIDTENTRY64 Entry, VOID (*Handler)(VOID), UCHAR Dpl, UCHAR Ist)
{
    ULONG64 Address = (ULONG64)Handler;

    Entry->OffsetLow = (USHORT)Address;
    Entry->OffsetMiddle = (USHORT)(Address >> 16);
    Entry->OffsetHigh = (ULONG)(Address >> 32);
    Entry->Selector = KGDT64_R0_CODE;
    Entry->IstIndex = Ist;
    Entry->Type = 0x0E;                     // interrupt gate
    Entry->Dpl = Dpl;
    Entry->Present = 1;
}

static VOID KiInitializeIdt(PKIDTENTRY64 Idt)
{
    for (ULONG i = 0; i < 256; i++)
        KiSetGate(&Idt[i], KiUnexpectedInterrupt, 0, 0);
    for (ULONG i = 0; i < ARRAYSIZE(KiInterruptInitTable); i++)
        KiSetGate(&Idt[KiInterruptInitTable[i].Vector], KiInterruptInitTable[i].Handler,
                  KiInterruptInitTable[i].Dpl, KiInterruptInitTable[i].Ist);
}

static VOID KiGetProcessorIdentity(PKPRCB Prcb)
{
    ULONG a, b, c, d;

    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
    memcpy(Prcb->VendorString, &b, 4);
    memcpy(Prcb->VendorString + 4, &d, 4);
    memcpy(Prcb->VendorString + 8, &c, 4);
    Prcb->CpuVendor = Prcb->VendorString[0] == 'G' ? 1 : 2;     // CPU_INTEL, CPU_AMD
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
    Prcb->ProcessorSignature = a;
    Prcb->CpuID = TRUE;
    Prcb->CpuType = a >> 8 & 0x0F;
    if (Prcb->CpuType == 0x0F)
        Prcb->CpuType += a >> 20 & 0xFF;
    Prcb->CpuStepping = a & 0x0F;
    Prcb->CpuModel = (a >> 4 & 0x0F) | (a >> 12 & 0xF0);
    Prcb->FeatureBits = (ULONG64)c << 32 | d;
}

static VOID KiInitializePrcb(PKPRCB Prcb, ULONG Number, PKDSIM_PROCESSOR Processor)
{
    Prcb->MxCsr = 0x1F80;
    Prcb->Number = Number;
    Prcb->LegacyNumber = (UCHAR)Number;
    Prcb->MajorVersion = 1;
    Prcb->MinorVersion = 1;
    Prcb->GroupSetMember = 1ULL << Number;
    Prcb->GroupIndex = (UCHAR)Number;
    Prcb->InitialApicId = Number;
    Prcb->ParentNode = &ExNode0;
    Prcb->MHz = 1000;                       // the time-stamp counter counts nanoseconds
    Prcb->TscFrequency = 1000000000;
    Prcb->CoresPerPhysicalProcessor = 1;
    Prcb->LogicalProcessorsPerCore = 1;
    Prcb->DpcStack = Processor->DpcStack;
    Prcb->Context = &KiProcessorContext[Number];
    Prcb->ContextFlagsInit = 0x10000F;
    Prcb->MaximumDpcQueueDepth = 4;
    Prcb->MinimumDpcRate = 3;
    for (ULONG i = 0; i < ARRAYSIZE(Prcb->DpcData); i++)
        Prcb->DpcData[i].DpcList.LastEntry = &Prcb->DpcData[i].DpcList.ListHead;
    for (ULONG i = 0; i < ARRAYSIZE(Prcb->DispatcherReadyListHead); i++)
        InitializeListHead(&Prcb->DispatcherReadyListHead[i]);
    KiInitializeTimerTable(Prcb);
    InitializeListHead(&Prcb->WaitListHead);
    KiConnectClockInterrupt(Prcb);
    KiGetProcessorIdentity(Prcb);
}

// Fills the control region and loads this processor's tables. GS is usable afterwards.
VOID KiInitializePcr(ULONG Number, PKDSIM_PROCESSOR Processor)
{
    PKPCR Pcr = Processor->Pcr;
    PUCHAR Tss = (PUCHAR)Processor->Gdt + KGDT64_SYS_TSS;
    KDESCRIPTOR Gdt = {{0}, 0x57, Processor->Gdt}, Idt = {{0}, 0xFFF, Processor->Idt};

    KiInitializeIdt(Processor->Idt);
    Tss[5] &= (UCHAR)~2;                    // LTR wants the descriptor's busy bit off
    KiLoadDescriptorTables(&Gdt.Limit, &Idt.Limit, KGDT64_SYS_TSS);
    __writemsr(0xC0000101, (ULONG64)Pcr);
    __writemsr(0xC0000102, 0);
    Pcr->GdtBase = Processor->Gdt;
    Pcr->TssBase = Processor->Tss;
    Pcr->IdtBase = Processor->Idt;
    Pcr->Self = Pcr;
    Pcr->CurrentPrcb = &Pcr->Prcb;
    Pcr->LockArray = Pcr->Prcb.LockQueue;
    Pcr->MajorVersion = 1;
    Pcr->MinorVersion = 1;
    Pcr->StallScaleFactor = 1000;
    KiInitializePrcb(&Pcr->Prcb, Number, Processor);
    KiProcessorBlock[Number] = &Pcr->Prcb;
}

// The stack the processor runs on becomes its idle thread's.
static VOID KiBecomeIdleThread(PKPRCB Prcb, PKTHREAD Thread, PKDSIM_PROCESSOR Processor)
{
    KeInitializeThread(Thread, Processor->KernelStack, NULL, NULL, NULL, &KiInitialProcess.Pcb);
    Thread->KernelStack = NULL;             // valid when it is switched out
    Thread->Priority = Thread->BasePriority = 0;
    Thread->IdealProcessor = Prcb->Number;
    Thread->Affinity.Mask = Prcb->GroupSetMember;
    Thread->NextProcessor = Prcb->Number;
    Thread->WaitIrql = DISPATCH_LEVEL;
    Thread->SystemThread = 1;
    Thread->State = Running;
    Thread->Running = TRUE;
    Prcb->IdleThread = Prcb->CurrentThread = Thread;
    Prcb->RspBase = (ULONG64)Thread->InitialStack;
    InsertTailList(&KiInitialProcess.Pcb.ThreadListHead, &Thread->ThreadListEntry);
    KiInitialProcess.Pcb.StackCount.StackCount++;
}

DECLSPEC_NORETURN VOID KiInitializeBootProcessor(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    PKDSIM_PROCESSOR Processor = &LoaderBlock->Processors[0];

    __writecr8(DISPATCH_LEVEL);
    KeLoaderBlock = LoaderBlock;
    KiBootTime = LoaderBlock->SystemTime;
    KiWaitNever = LoaderBlock->Entropy[4];
    KiWaitAlways = LoaderBlock->Entropy[5];
    KiInitializePcr(0, Processor);
    KeNumberProcessors = 1;
    KeActiveProcessors.Bitmap[0] = 1;
    ExNode0.Affinity.Mask = 1;
    KeInitializeProcess(&KiInitialProcess.Pcb, 0, LoaderBlock->DirectoryTableBase);
    KiBecomeIdleThread(&Processor->Pcr->Prcb, &KiInitialThread.Tcb, Processor);
    __writecr8(APC_LEVEL);
    KiInitializeKernel(LoaderBlock);
    __writecr8(DISPATCH_LEVEL);
    _enable();
    KiIdleLoop();
}

DECLSPEC_NORETURN VOID KiInitializeProcessor(PKDSIM_PROCESSOR Processor)
{
    ULONG Number = (ULONG)(Processor - KeLoaderBlock->Processors);
    PKPRCB Prcb = &Processor->Pcr->Prcb;
    PKTHREAD Idle = Prcb->IdleThread;

    __writecr8(DISPATCH_LEVEL);
    KiInitializePcr(Number, Processor);
    Processor->Pcr->KdVersionBlock = &KdVersionBlock;
    KiBecomeIdleThread(Prcb, Idle, Processor);
    KiSaveProcessorControlState(&Prcb->ProcessorState);
    KeActiveProcessors.Bitmap[0] |= Prcb->GroupSetMember;
    ExNode0.Affinity.Mask = KeActiveProcessors.Bitmap[0];
    KeNumberProcessors = Number + 1;
    _enable();
    KiIdleLoop();
}

// One after the other, so that numbers and lists come out in order.
VOID KeStartAllProcessors(VOID)
{
    for (ULONG i = 1; i < KeLoaderBlock->NumberProcessors; i++) {
        PKDSIM_PROCESSOR Processor = &KeLoaderBlock->Processors[i];

        Processor->Pcr->Prcb.IdleThread = &PspCreateIdleThread(i)->Tcb;
        HalpMachineCall(ServiceStartProcessor, i, (ULONG64)KiStartProcessor,
                        (ULONG64)Processor->KernelStack, (ULONG64)Processor);
        while (*(volatile ULONG *)&KeNumberProcessors != i + 1)
            YieldProcessor();
    }
}

VOID KeInitializeProcess(PKPROCESS Process, KPRIORITY BasePriority, ULONG64 DirectoryTableBase)
{
    Process->Header.Type = ProcessObject;
    Process->Header.Size = (UCHAR)(sizeof(KPROCESS) / sizeof(ULONG));   // the field wraps, as in Windows
    InitializeListHead(&Process->Header.WaitListHead);
    InitializeListHead(&Process->ProfileListHead);
    InitializeListHead(&Process->ThreadListHead);
    InitializeListHead(&Process->ReadyListHead);
    Process->DirectoryTableBase = DirectoryTableBase;
    Process->BasePriority = (CHAR)BasePriority;
    Process->QuantumReset = 6;
    Process->Affinity.Count = 1;
    Process->Affinity.Size = 20;
    Process->Affinity.Bitmap[0] = (1ULL << KeLoaderBlock->NumberProcessors) - 1;
    InsertTailList(&KiProcessListHead, &Process->ProcessListEntry);
}
