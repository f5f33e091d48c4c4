// Which drivers are to be verified, and how: from the loader block, as Windows reads it from the
// registry.
#include "vf.h"

#define VF_TAG 'ripV'              // "Vpir"

MM_DRIVER_VERIFIER_DATA MmVerifierData;
ULONG MmVerifyDriverLevel = VF_LEVEL_NOT_CONFIGURED;
WCHAR MmVerifyDriverBuffer[256];
ULONG MmVerifyDriverBufferLength = VF_LEVEL_NOT_CONFIGURED;
ULONG KernelVerifier;
LIST_ENTRY VfSuspectDriversList = {&VfSuspectDriversList, &VfSuspectDriversList};
LIST_ENTRY VfExcludedDriversList = {&VfExcludedDriversList, &VfExcludedDriversList};
ULONG ViFullyInitialized;
VI_FAULT_TRACE *ViFaultTraces = NULL;      // no faults are injected here
ULONG ViFaultTracesLength = 0;
LONG ViFaultTracesIndex = -1;

static PVF_SUSPECT_DRIVER_ENTRY VfSuspectDriversAdd(PCUNICODE_STRING Name)
{
    SIZE_T Size = sizeof(VF_SUSPECT_DRIVER_ENTRY) + Name->Length + sizeof(WCHAR);
    PVF_SUSPECT_DRIVER_ENTRY Entry = ExAllocatePoolWithTag(NonPagedPoolNx, Size, VF_TAG);

    if (Entry == NULL)
        return NULL;
    memset(Entry, 0, sizeof(*Entry));
    RtlInitEmptyUnicodeString(&Entry->BaseName, (PWCHAR)(Entry + 1), Name->Length + sizeof(WCHAR));
    RtlCopyUnicodeString(&Entry->BaseName, Name);
    InsertTailList(&VfSuspectDriversList, &Entry->Links);
    return Entry;
}

static BOOLEAN VfVerifyAllDrivers(VOID)
{
    return MmVerifyDriverBuffer[0] == '*';
}

// The driver's entry, NULL when it is not to be verified. "*" lists every driver when it first
// loads.
PVF_SUSPECT_DRIVER_ENTRY VfSuspectDriversLookup(PCUNICODE_STRING BaseName)
{
    for (PLIST_ENTRY Link = VfSuspectDriversList.Flink; Link != &VfSuspectDriversList;
         Link = Link->Flink) {
        PVF_SUSPECT_DRIVER_ENTRY Entry = CONTAINING_RECORD(Link, VF_SUSPECT_DRIVER_ENTRY, Links);
        if (RtlEqualUnicodeString(&Entry->BaseName, BaseName, TRUE))
            return Entry;
    }
    return VfVerifyAllDrivers() ? VfSuspectDriversAdd(BaseName) : NULL;
}

static VOID VfParseDriverNames(VOID)
{
    PWCHAR Next = MmVerifyDriverBuffer;

    while (*Next != 0) {
        UNICODE_STRING Name = {0};

        Name.Buffer = Next;
        while (*Next != 0 && *Next != ' ')
            Next++;
        Name.Length = Name.MaximumLength = (USHORT)((Next - Name.Buffer) * sizeof(WCHAR));
        if (Name.Length != 0)
            VfSuspectDriversAdd(&Name);
        while (*Next == ' ')
            Next++;
    }
}

// The modules the boot loader brought; nt itself and the HAL are not drivers.
static VOID VfVerifyBootDrivers(VOID)
{
    PLIST_ENTRY Link = PsLoadedModuleList.Flink->Flink;

    while (Link != &PsLoadedModuleList && Link->Flink != &PsLoadedModuleList) {
        Link = Link->Flink;
        VfDriverLoadImage(CONTAINING_RECORD(Link, KLDR_DATA_TABLE_ENTRY, InLoadOrderLinks));
    }
}

VOID VfInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    ULONG Length = 0;

    VfTargetDriversInitialize();
    if (LoaderBlock->VerifierDrivers[0] == 0)
        return;
    for (; Length < ARRAYSIZE(MmVerifyDriverBuffer) - 1 && LoaderBlock->VerifierDrivers[Length];
         Length++)
        MmVerifyDriverBuffer[Length] = (UCHAR)LoaderBlock->VerifierDrivers[Length];
    MmVerifyDriverBufferLength = (Length + 1) * sizeof(WCHAR);
    MmVerifyDriverLevel = LoaderBlock->VerifierLevel;
    MmVerifierData.Level = LoaderBlock->VerifierLevel;
    if (!VfVerifyAllDrivers())
        VfParseDriverNames();
    if (MmVerifierData.Level & DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS)
        VfInitializePoolTraces();
    if (MmVerifierData.Level & DRIVER_VERIFIER_FORCE_IRQL_CHECKING)
        ViTrackIrqlInitialize();
    ViFullyInitialized = 1;
    VfVerifyBootDrivers();
}
