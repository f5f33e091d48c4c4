// The memory manager's start: physical memory, the map of the system address space, shared data.
#include "mi.h"

MI_SYSTEM_INFORMATION MiState = {0};
MI_PARTITION MiSystemPartition = {0};
PVOID MmSystemRangeStart = (PVOID)0xFFFF800000000000ULL;
PVOID MmHighestUserAddress = (PVOID)0x00007FFFFFFEFFFFULL;
ULONG64 MmUserProbeAddress = 0x00007FFFFFFF0000ULL;
PPHYSICAL_MEMORY_DESCRIPTOR MmPhysicalMemoryBlock = NULL;
PVOID MmBadPointer = (PVOID)0xFFFF800000000000ULL;
ULONG MmTrackLockedPages = 0;
ULONG MmSpecialPoolTag = 0;
ULONG MmSpecialPoolCatchOverruns = 1;
ULONG MmProtectFreedNonPagedPool = 0;
ULONG64 MmSizeOfPagedPoolInBytes = 0;
#define SYSTEM_PTES 0x4000
static PHYSICAL_MEMORY_DESCRIPTOR MiPhysicalMemoryBlock;
static ULONG64 MiSystemPteBits[SYSTEM_PTES / 64];

static VOID MiAssignRegion(KDSIM_REGION *Region, MI_ASSIGNED_REGION_TYPES Type,
                           MI_SYSTEM_VA_TYPE VaType)
{
    ULONG64 Last = Region->Base + Region->Size - 1;

    MiState.Vs.SystemVaRegions[Type].BaseAddress = (PVOID)Region->Base;
    MiState.Vs.SystemVaRegions[Type].NumberOfBytes = Region->Size;
    for (ULONG64 i = Region->Base >> 39 & 0xFF; i <= (Last >> 39 & 0xFF); i++)
        MiState.Vs.SystemVaType[i] = (UCHAR)VaType;
    MiState.Vs.SystemVaTypeCount[VaType] += Region->Size >> 21;
}

// One entry is taken: the window of MiMapPageInHyperSpace.
static VOID MiInitializeSystemPtes(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    PMI_SYSTEM_PTE_TYPE Info = &MiState.Vs.SystemPteInfo;

    MiSystemPteBits[0] = 1;
    Info->Bitmap.SizeOfBitMap = SYSTEM_PTES;
    Info->Bitmap.Buffer = MiSystemPteBits;
    Info->BasePte = MiGetPteAddress((PVOID)LoaderBlock->SystemPtes.Base);
    Info->VaType = MiVaSystemPtes;
    Info->TotalSystemPtes = SYSTEM_PTES;
    Info->TotalFreeSystemPtes = SYSTEM_PTES - 1;
}

static VOID MiAssignSystemVa(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    KDSIM_REGION Tables = {LoaderBlock->PteBase, 1ULL << 39};
    KDSIM_REGION Shared = {(ULONG64)SHARED_USER_DATA, PAGE_SIZE};

    MiAssignRegion(&LoaderBlock->DriverImages, AssignedRegionSystemImages, MiVaDriverImages);
    MiAssignRegion(&LoaderBlock->PfnDatabase, AssignedRegionPfnDatabase, MiVaPfnDatabase);
    MiAssignRegion(&LoaderBlock->NonPagedPool, AssignedRegionNonPagedPool, MiVaNonPagedPool);
    MiAssignRegion(&LoaderBlock->PagedPool, AssignedRegionPagedPool, MiVaPagedPool);
    MiAssignRegion(&LoaderBlock->SystemPtes, AssignedRegionSystemPtes, MiVaSystemPtes);
    MiAssignRegion(&LoaderBlock->KernelStacks, AssignedRegionKernelStacks, MiVaKernelStacks);
    MiAssignRegion(&Tables, AssignedRegionPageTables, MiVaProcessSpace);
    MiState.Vs.SystemVaType[Shared.Base >> 39 & 0xFF] = MiVaHal;
    MiState.Vs.PagingLevels = 4;
    MiState.Vs.MaximumNonPagedPoolInPages = LoaderBlock->NonPagedPool.Size >> PAGE_SHIFT;
    MiState.Vs.SizeOfPagedPoolInPages = LoaderBlock->PagedPool.Size >> PAGE_SHIFT;
    MiState.Vs.PagedPoolInfo.MaximumSize = LoaderBlock->PagedPool.Size >> PAGE_SHIFT;
    MmSizeOfPagedPoolInBytes = LoaderBlock->PagedPool.Size;
    MiState.Pools.MaximumNonPagedPoolThreshold = MiState.Vs.MaximumNonPagedPoolInPages;
    MiInitializeSystemPtes(LoaderBlock);
}

static VOID MiDescribePhysicalMemory(PFN_NUMBER Pages)
{
    MiPhysicalMemoryBlock.NumberOfRuns = 1;
    MiPhysicalMemoryBlock.NumberOfPages = Pages;
    MiPhysicalMemoryBlock.Run[0].BasePage = 0;
    MiPhysicalMemoryBlock.Run[0].PageCount = Pages;
    MmPhysicalMemoryBlock = &MiPhysicalMemoryBlock;
    MiSystemPartition.Core.MemoryRuns = &MiPhysicalMemoryBlock;
    MiSystemPartition.Vp.LowestPhysicalPage = 0;
    MiSystemPartition.Vp.HighestPhysicalPage = Pages - 1;
    MiSystemPartition.Vp.NumberOfPhysicalPages = Pages;
    MiSystemPartition.Vp.ResidentAvailablePages = Pages;
    MiSystemPartition.Vp.TotalCommitLimit = Pages;      // no paging file
    MiSystemPartition.Commit.TotalCommitLimitMaximum = Pages;
}

static VOID MiInitializeSharedUserData(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    PKUSER_SHARED_DATA Shared = (PKUSER_SHARED_DATA)SHARED_USER_DATA;

    MiCommitSystemPages(Shared, 1, MM_READWRITE);
    memcpy(Shared->NtSystemRoot, L"C:\\Windows", sizeof(L"C:\\Windows"));
    Shared->NtProductType = NtProductWinNt;
    Shared->ProductTypeIsValid = TRUE;
    Shared->NativeProcessorArchitecture = 9;            // PROCESSOR_ARCHITECTURE_AMD64
    Shared->NtMajorVersion = 10;
    Shared->NtMinorVersion = 0;
    Shared->NtBuildNumber = 19045;          // 22H2 is an enablement package over kernel 19041
    Shared->ImageNumberLow = Shared->ImageNumberHigh = 0x8664;
    Shared->LargePageMinimum = 0x200000;
    Shared->SuiteMask = 0x110;              // single user terminal services
    Shared->TickCountMultiplier = 0x0FA00000;           // 15.625 ms a tick
    Shared->QpcFrequency = 10000000;
    Shared->NumberOfPhysicalPages = (ULONG)LoaderBlock->NumberOfPages;
    Shared->KdDebuggerEnabled = LoaderBlock->DebuggerEnabled ? 3 : 0;
    Shared->ActiveProcessorCount = LoaderBlock->NumberProcessors;
    Shared->ActiveGroupCount = 1;
    Shared->UnparkedProcessorCount = (USHORT)LoaderBlock->NumberProcessors;
    Shared->SystemExpirationDate.QuadPart = 0;
    Shared->ActiveConsoleId = 1;
    KeUpdateSystemTime();
}

VOID MmInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    MmPteBase = LoaderBlock->PteBase;
    MiDescribePhysicalMemory(LoaderBlock->NumberOfPages);
    MiInitializePfnDatabase(LoaderBlock);
    MiAssignSystemVa(LoaderBlock);
    MiInitializeSharedUserData(LoaderBlock);
    MiInitializeLoadedModuleList(LoaderBlock);
}
