// What debuggers find first: the version block and the debugger data block. Fields whose variable
// this kernel (like 19041) does not have stay zero.
#include "kdp.h"

#define KDBG_TAG 0x4742444B                 // 'KDBG' in memory order
#define ADDRESS(variable) ((ULONGLONG)&(variable))
#define KD_PRINT_BUFFER 0x1000

extern PVOID EtwpDebuggerData;

LIST_ENTRY KdpDebuggerDataListHead = {&KdpDebuggerDataListHead, &KdpDebuggerDataListHead};
DBGKD_GET_VERSION64 KdVersionBlock = {0};
PVOID KdpContext = NULL;
CHAR KdpMessageBuffer[0x1000] = {0};

KDDEBUGGER_DATA64 KdDebuggerDataBlock = {
    .Header = {.OwnerTag = KDBG_TAG, .Size = sizeof(KDDEBUGGER_DATA64)},
    .BreakpointWithStatus = (ULONGLONG)&DbgBreakPointWithStatus,
    .PaeEnabled = 1,
    .MmPageSize = PAGE_SIZE,
    .PsLoadedModuleList = ADDRESS(PsLoadedModuleList),
    .PsActiveProcessHead = ADDRESS(PsActiveProcessHead),
    .PspCidTable = ADDRESS(PspCidTable),
    .ExpSystemResourcesList = ADDRESS(ExpSystemResourcesList),
    .KeTimeIncrement = ADDRESS(KeTimeIncrement),
    .KeBugCheckCallbackListHead = ADDRESS(KeBugCheckCallbackListHead),
    .KiBugcheckData = ADDRESS(KiBugCheckData),
    .IopErrorLogListHead = ADDRESS(IopErrorLogListHead),
    .ObpRootDirectoryObject = ADDRESS(ObpRootDirectoryObject),
    .ObpTypeObjectType = ADDRESS(ObpTypeObjectType),
    .MmPfnDatabase = ADDRESS(MmPfnDatabase),
    .MmSystemPtesStart = ADDRESS(MiState.Vs.SystemVaRegions[AssignedRegionSystemPtes].BaseAddress),
    .MmNumberOfPagingFiles = ADDRESS(MiSystemPartition.Vp.NumberOfPagingFiles),
    .MmLowestPhysicalPage = ADDRESS(MiSystemPartition.Vp.LowestPhysicalPage),
    .MmHighestPhysicalPage = ADDRESS(MiSystemPartition.Vp.HighestPhysicalPage),
    .MmNumberOfPhysicalPages = ADDRESS(MiSystemPartition.Vp.NumberOfPhysicalPages),
    .MmNonPagedPoolStart =
        ADDRESS(MiState.Vs.SystemVaRegions[AssignedRegionNonPagedPool].BaseAddress),
    .MmPagedPoolStart = ADDRESS(MiState.Vs.SystemVaRegions[AssignedRegionPagedPool].BaseAddress),
    .MmPagedPoolInformation = ADDRESS(MiState.Vs.PagedPoolInfo),
    .MmSizeOfPagedPoolInBytes = ADDRESS(MmSizeOfPagedPoolInBytes),
    .MmTotalCommitLimit = ADDRESS(MiSystemPartition.Vp.TotalCommitLimit),
    .MmTotalCommittedPages = ADDRESS(MiSystemPartition.Vp.TotalCommittedPages),
    .MmSharedCommit = ADDRESS(MiSystemPartition.Vp.SharedCommit),
    .MmDriverCommit = ADDRESS(MiState.Vs.DriverCommit),
    .MmProcessCommit = ADDRESS(MiState.Vs.ProcessCommit),
    .MmPagedPoolCommit = ADDRESS(MiState.Vs.PagedPoolInfo.AllocatedPagedPool),
    .MmZeroedPageListHead = ADDRESS(MiSystemPartition.PageLists.ZeroedPageListHead),
    .MmFreePageListHead = ADDRESS(MiSystemPartition.PageLists.FreePageListHead),
    .MmStandbyPageListHead = ADDRESS(MiSystemPartition.PageLists.StandbyPageListHead),
    .MmModifiedPageListHead = ADDRESS(MiSystemPartition.Vp.ModifiedPageListHead),
    .MmModifiedNoWritePageListHead = ADDRESS(MiSystemPartition.Vp.ModifiedNoWritePageListHead),
    .MmAvailablePages = ADDRESS(MiSystemPartition.Vp.AvailablePages),
    .MmResidentAvailablePages = ADDRESS(MiSystemPartition.Vp.ResidentAvailablePages),
    .PoolTrackTable = ADDRESS(PoolTrackTable),
    .MmHighestUserAddress = ADDRESS(MmHighestUserAddress),
    .MmSystemRangeStart = ADDRESS(MmSystemRangeStart),
    .MmUserProbeAddress = ADDRESS(MmUserProbeAddress),
    .KdPrintCircularBuffer = ADDRESS(KdPrintDefaultCircularBuffer[0]),
    .KdPrintCircularBufferEnd = ADDRESS(KdPrintDefaultCircularBuffer[KD_PRINT_BUFFER]),
    .KdPrintWritePointer = ADDRESS(KdPrintWritePointer),
    .KdPrintRolloverCount = ADDRESS(KdPrintRolloverCount),
    .NtBuildLab = ADDRESS(NtBuildLab[0]),
    .KiProcessorBlock = ADDRESS(KiProcessorBlock[0]),
    .MmUnloadedDrivers = ADDRESS(MmUnloadedDrivers),
    .MmLastUnloadedDriver = ADDRESS(MmLastUnloadedDriver),
    .MmSpecialPoolTag = ADDRESS(MmSpecialPoolTag),
    .KernelVerifier = ADDRESS(KernelVerifier),
    .MmVerifierData = ADDRESS(MmVerifierData),
    .MmAllocatedNonPagedPool = ADDRESS(MiState.Pools.AllocatedNonPagedPool),
    .MmPeakCommitment = ADDRESS(MiSystemPartition.Commit.PeakCommitment),
    .MmTotalCommitLimitMaximum = ADDRESS(MiSystemPartition.Commit.TotalCommitLimitMaximum),
    .CmNtCSDVersion = ADDRESS(CmNtCSDVersion),
    .MmPhysicalMemoryBlock = ADDRESS(MmPhysicalMemoryBlock),
    .KdPrintCircularBufferPtr = ADDRESS(KdPrintCircularBuffer),
    .KdPrintBufferSize = ADDRESS(KdPrintBufferSize),
    .KeLoaderBlock = ADDRESS(KeLoaderBlock),
    .IopNumTriageDumpDataBlocks = ADDRESS(IopNumTriageDumpDataBlocks),
    .IopTriageDumpDataBlocks = ADDRESS(IopTriageDumpDataBlocks[0]),
    .EtwpDebuggerData = ADDRESS(EtwpDebuggerData),
    .OffsetKThreadNextProcessor = FIELD_OFFSET(KTHREAD, NextProcessor),
    .OffsetKThreadTeb = FIELD_OFFSET(KTHREAD, Teb),
    .OffsetKThreadKernelStack = FIELD_OFFSET(KTHREAD, KernelStack),
    .OffsetKThreadInitialStack = FIELD_OFFSET(KTHREAD, InitialStack),
    .OffsetKThreadApcProcess = FIELD_OFFSET(KTHREAD, ApcState.Process),
    .OffsetKThreadState = FIELD_OFFSET(KTHREAD, State),
    .OffsetEprocessPeb = FIELD_OFFSET(EPROCESS, Peb),
    .OffsetEprocessParentCID = FIELD_OFFSET(EPROCESS, InheritedFromUniqueProcessId),
    .OffsetEprocessDirectoryTableBase = FIELD_OFFSET(EPROCESS, Pcb.DirectoryTableBase),
    .OffsetPrcbDpcRoutine = FIELD_OFFSET(KPRCB, DpcRoutineActive),
    .OffsetPrcbCurrentThread = FIELD_OFFSET(KPRCB, CurrentThread),
    .OffsetPrcbMhz = FIELD_OFFSET(KPRCB, MHz),
    .OffsetPrcbCpuType = FIELD_OFFSET(KPRCB, CpuType),
    .OffsetPrcbVendorString = FIELD_OFFSET(KPRCB, VendorString),
    .OffsetPrcbProcStateContext = FIELD_OFFSET(KPRCB, ProcessorState.ContextFrame),
    .OffsetPrcbNumber = FIELD_OFFSET(KPRCB, Number),
    .OffsetPcrSelfPcr = FIELD_OFFSET(KPCR, Self),
    .OffsetPcrCurrentPrcb = FIELD_OFFSET(KPCR, CurrentPrcb),
    .OffsetPcrContainedPrcb = FIELD_OFFSET(KPCR, Prcb),
    .OffsetPrcbProcStateSpecialReg = FIELD_OFFSET(KPRCB, ProcessorState.SpecialRegisters),
    .OffsetPrcbContext = FIELD_OFFSET(KPRCB, Context),
    .OffsetKThreadStackLimit = FIELD_OFFSET(KTHREAD, StackLimit),
    .OffsetKThreadStackBase = FIELD_OFFSET(KTHREAD, StackBase),
    .OffsetKThreadQueueListEntry = FIELD_OFFSET(KTHREAD, QueueListEntry),
    .OffsetEThreadIrpList = FIELD_OFFSET(ETHREAD, IrpList),
    .OffsetPrcbIdleThread = FIELD_OFFSET(KPRCB, IdleThread),
    .OffsetPrcbNormalDpcState = FIELD_OFFSET(KPRCB, NormalDpcState),
    .OffsetPrcbDpcStack = FIELD_OFFSET(KPRCB, DpcStack),
    .OffsetPrcbIsrStack = FIELD_OFFSET(KPRCB, IsrStack),
    .OffsetKThreadWaitReason = FIELD_OFFSET(KTHREAD, WaitReason),
    .SizeEProcess = sizeof(EPROCESS),
    .SizePrcb = sizeof(KPRCB),
    .SizeEThread = sizeof(ETHREAD),
    .SizePcr = sizeof(KPCR),
    .GdtR0Code = KGDT64_R0_CODE,
    .GdtR0Data = KGDT64_R0_DATA,
    .GdtR3Code = KGDT64_R3_CODE | 3,
    .GdtR3Data = KGDT64_R3_DATA | 3,
    .GdtR3Teb = KGDT64_R3_CMTEB | 3,
    .GdtTss = KGDT64_SYS_TSS,
    .Gdt64R3CmCode = KGDT64_R3_CMCODE | 3,
    .Gdt64R3CmTeb = KGDT64_R3_CMTEB | 3,
};

static VOID KdpInitializeVersionBlock(VOID)
{
    KdVersionBlock.MajorVersion = 0x000F;   // a free build
    KdVersionBlock.MinorVersion = (USHORT)NtBuildNumber;
    KdVersionBlock.ProtocolVersion = 6;
    KdVersionBlock.KdSecondaryVersion = 2;
    KdVersionBlock.Flags = 0x7;             // multiprocessor, data block present, 64-bit pointers
    KdVersionBlock.MachineType = 0x8664;
    KdVersionBlock.MaxPacketType = 0x0C;
    KdVersionBlock.MaxStateChange = 3;
    KdVersionBlock.MaxManipulate = 0x33;
    KdVersionBlock.KernBase = (ULONG64)PsNtosImageBase;
    KdVersionBlock.PsLoadedModuleList = (ULONG64)&PsLoadedModuleList;
    KdVersionBlock.DebuggerDataList = (ULONG64)&KdpDebuggerDataListHead;
}

// After the memory manager has taken over the module list.
VOID KdInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    KdDebuggerDataBlock.KernBase = (ULONG64)PsNtosImageBase;
    KdDebuggerDataBlock.PteBase = MmPteBase;
    InsertTailList(&KdpDebuggerDataListHead, &KdDebuggerDataBlock.Header.List);
    KdpInitializeVersionBlock();
    CONTAINING_RECORD(KeGetCurrentPrcb(), KPCR, Prcb)->KdVersionBlock = &KdVersionBlock;
    KdDebuggerEnabled = LoaderBlock->DebuggerEnabled != 0;
    KdDebuggerNotPresent = !KdDebuggerEnabled;
    KdPitchDebugger = !KdDebuggerEnabled;
}
