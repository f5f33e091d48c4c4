// Loaded system images: the list, loading and unloading drivers.
#include "mi.h"

#define TAG_LOADER 'dLmM'
#define LDRP_LOADED_DRIVER 0x49104000       // what Windows shows: processed, native, symbols loaded
#define IMAGE_UNIT 0x10000
#define IMAGE_UNITS 4096

PUNLOADED_DRIVERS MmUnloadedDrivers = NULL;
ULONG MmLastUnloadedDriver = 0;
static UNLOADED_DRIVERS MiUnloadedDriverTable[MI_UNLOADED_DRIVERS];
static ULONG64 MiDriverImageBits[IMAGE_UNITS / 64];
static KMUTANT MmSystemLoadLock;

// The boot loader's entries become PsLoadedModuleList; the loader block's head is left empty.
VOID MiInitializeLoadedModuleList(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    InitializeListHead(&PsLoadedModuleList);
    while (!IsListEmpty(&LoaderBlock->LoadOrderListHead))
        InsertTailList(&PsLoadedModuleList, RemoveHeadList(&LoaderBlock->LoadOrderListHead));
    PsNtosImageBase =
        CONTAINING_RECORD(PsLoadedModuleList.Flink, KLDR_DATA_TABLE_ENTRY, InLoadOrderLinks)
            ->DllBase;
    MmUnloadedDrivers = MiUnloadedDriverTable;
    MiState.SystemVa.DynamicBitMapDriverImages[0].Bitmap.SizeOfBitMap = IMAGE_UNITS;
    MiState.SystemVa.DynamicBitMapDriverImages[0].Bitmap.Buffer = MiDriverImageBits;
    MiState.SystemVa.DynamicBitMapDriverImages[0].BaseVa = (PVOID)LoaderBlock->DriverImages.Base;
    KeInitializeMutex(&MmSystemLoadLock, 0);
}

PKLDR_DATA_TABLE_ENTRY MiLookupDataTableEntry(PVOID Address)
{
    for (PLIST_ENTRY Link = PsLoadedModuleList.Flink; Link != &PsLoadedModuleList;
         Link = Link->Flink) {
        PKLDR_DATA_TABLE_ENTRY Entry =
            CONTAINING_RECORD(Link, KLDR_DATA_TABLE_ENTRY, InLoadOrderLinks);

        if ((ULONG64)Address - (ULONG64)Entry->DllBase < Entry->SizeOfImage)
            return Entry;
    }
    return NULL;
}

static BOOLEAN MiImageUnitsFree(ULONG First, ULONG Count)
{
    for (ULONG i = First; i < First + Count; i++)
        if (MiDriverImageBits[i / 64] >> (i % 64) & 1)
            return FALSE;
    return TRUE;
}

// First fit over 64 KiB units.
PVOID MiReserveDriverImage(SIZE_T Size)
{
    ULONG Count = (ULONG)((Size + IMAGE_UNIT - 1) / IMAGE_UNIT);
    ULONG64 Limit = KeLoaderBlock->DriverImages.Size / IMAGE_UNIT;

    for (ULONG First = 0; First + Count <= IMAGE_UNITS && First + Count <= Limit; First++)
        if (MiImageUnitsFree(First, Count)) {
            for (ULONG i = First; i < First + Count; i++)
                MiDriverImageBits[i / 64] |= 1ULL << (i % 64);
            return (PVOID)(KeLoaderBlock->DriverImages.Base + (ULONG64)First * IMAGE_UNIT);
        }
    return NULL;
}

VOID MiReleaseDriverImage(PVOID Base, SIZE_T Size)
{
    ULONG First = (ULONG)(((ULONG64)Base - KeLoaderBlock->DriverImages.Base) / IMAGE_UNIT);
    ULONG Count = (ULONG)((Size + IMAGE_UNIT - 1) / IMAGE_UNIT);

    for (ULONG i = First; i < First + Count; i++)
        MiDriverImageBits[i / 64] &= ~(1ULL << (i % 64));
}

static BOOLEAN MiCopyName(PUNICODE_STRING Target, PCUNICODE_STRING Source)
{
    Target->Buffer = ExAllocatePoolWithTag(NonPagedPoolNx, Source->Length + sizeof(WCHAR),
                                           TAG_LOADER);
    if (Target->Buffer == NULL)
        return FALSE;
    memcpy(Target->Buffer, Source->Buffer, Source->Length);
    Target->Buffer[Source->Length / sizeof(WCHAR)] = 0;
    Target->Length = Source->Length;
    Target->MaximumLength = Source->Length + sizeof(WCHAR);
    return TRUE;
}

// The part behind the last backslash.
static UNICODE_STRING MiBaseName(PCUNICODE_STRING Path)
{
    UNICODE_STRING Base = *Path;

    for (USHORT i = 0; i < Path->Length / sizeof(WCHAR); i++)
        if (Path->Buffer[i] == '\\') {
            Base.Buffer = Path->Buffer + i + 1;
            Base.Length = (USHORT)(Path->Length - (i + 1) * sizeof(WCHAR));
        }
    Base.MaximumLength = Base.Length;
    return Base;
}

static VOID MiToAnsi(PCHAR Target, SIZE_T Size, PCUNICODE_STRING Source)
{
    SIZE_T Length = Source->Length / sizeof(WCHAR);

    if (Length > Size - 1)
        Length = Size - 1;
    for (SIZE_T i = 0; i < Length; i++)
        Target[i] = (CHAR)Source->Buffer[i];
    Target[Length] = 0;
}

// The image's own unwind table, from its headers in memory.
static PVOID MiExceptionDirectory(PUCHAR Base, PULONG Size)
{
    PUCHAR Headers = Base + *(PULONG)(Base + 0x3C);
    PULONG Directory = (PULONG)(Headers + 24 + 112 + 3 * 8);

    *Size = Directory[1];
    return Directory[0] ? Base + Directory[0] : NULL;
}

static VOID MiFreeEntry(PKLDR_DATA_TABLE_ENTRY Entry)
{
    if (Entry->FullDllName.Buffer)
        ExFreePoolWithTag(Entry->FullDllName.Buffer, TAG_LOADER);
    if (Entry->BaseDllName.Buffer)
        ExFreePoolWithTag(Entry->BaseDllName.Buffer, TAG_LOADER);
    ExFreePoolWithTag(Entry, TAG_LOADER);
}

static PKLDR_DATA_TABLE_ENTRY MiCreateEntry(PCUNICODE_STRING FileName, KDSIM_IMAGE_INFO *Info)
{
    UNICODE_STRING BaseName = MiBaseName(FileName);
    PKLDR_DATA_TABLE_ENTRY Entry =
        ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Entry), TAG_LOADER);

    if (Entry == NULL)
        return NULL;
    memset(Entry, 0, sizeof(*Entry));
    if (!MiCopyName(&Entry->FullDllName, FileName) || !MiCopyName(&Entry->BaseDllName, &BaseName)) {
        MiFreeEntry(Entry);
        return NULL;
    }
    Entry->SizeOfImage = Info->SizeOfImage;
    Entry->SizeOfImageNotRounded = Info->SizeOfImage;
    Entry->CheckSum = Info->CheckSum;
    Entry->TimeDateStamp = Info->TimeDateStamp;
    Entry->Flags = LDRP_LOADED_DRIVER;
    Entry->LoadCount = 1;
    return Entry;
}

// Reserve, commit and fill the image's address range.
static NTSTATUS MiMapDriverImage(PKLDR_DATA_TABLE_ENTRY Entry, PCSTR AnsiName)
{
    SIZE_T Pages = BYTES_TO_PAGES(Entry->SizeOfImage);
    PUCHAR Base = MiReserveDriverImage(Entry->SizeOfImage);
    NTSTATUS Status;

    if (Base == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    Status = MiCommitSystemPages(Base, Pages, MM_EXECUTE_READWRITE);
    if (NT_SUCCESS(Status)) {
        Status = (NTSTATUS)HalpMachineCall(ServiceMapImage, (ULONG64)AnsiName, (ULONG64)Base,
                                           (ULONG64)&PsLoadedModuleList, 0);
        if (!NT_SUCCESS(Status))
            MiDecommitSystemPages(Base, Pages);
    }
    if (!NT_SUCCESS(Status)) {
        MiReleaseDriverImage(Base, Entry->SizeOfImage);
        return Status;
    }
    KeFlushTb(Base, Pages);                 // the sections' protections are in the entries now
    MiState.Vs.DriverCommit += (LONG)Pages;
    Entry->DllBase = Base;
    Entry->ExceptionTable = MiExceptionDirectory(Base, &Entry->ExceptionTableSize);
    return STATUS_SUCCESS;
}

static BOOLEAN MiIsImageLoaded(PCUNICODE_STRING FileName)
{
    UNICODE_STRING BaseName = MiBaseName(FileName);

    for (PLIST_ENTRY Link = PsLoadedModuleList.Flink; Link != &PsLoadedModuleList;
         Link = Link->Flink)
        if (RtlEqualUnicodeString(
                &CONTAINING_RECORD(Link, KLDR_DATA_TABLE_ENTRY, InLoadOrderLinks)->BaseDllName,
                &BaseName, TRUE))
            return TRUE;
    return FALSE;
}

static VOID MiNotifyDebugger(PKLDR_DATA_TABLE_ENTRY Entry, BOOLEAN Load)
{
    CHAR Buffer[128];
    STRING Name = {0, sizeof(Buffer), Buffer};

    MiToAnsi(Buffer, sizeof(Buffer), &Entry->FullDllName);
    Name.Length = (USHORT)strlen(Buffer);
    if (Load)
        DbgLoadImageSymbols(&Name, Entry->DllBase, (ULONG_PTR)-1);
    else
        DbgUnLoadImageSymbols(&Name, Entry->DllBase, (ULONG_PTR)-1);
}

NTSTATUS MmLoadSystemImage(PCUNICODE_STRING FileName, PKLDR_DATA_TABLE_ENTRY *EntryOut)
{
    PKLDR_DATA_TABLE_ENTRY Entry = NULL;
    UNICODE_STRING BaseName = MiBaseName(FileName);
    KDSIM_IMAGE_INFO Info = {0};
    CHAR AnsiName[64];
    NTSTATUS Status = STATUS_IMAGE_ALREADY_LOADED;

    MiToAnsi(AnsiName, sizeof(AnsiName), &BaseName);
    KeWaitForSingleObject(&MmSystemLoadLock, WrVirtualMemory, KernelMode, FALSE, NULL);
    if (!MiIsImageLoaded(FileName))
        Status = (NTSTATUS)HalpMachineCall(ServiceQueryImage, (ULONG64)AnsiName, (ULONG64)&Info, 0,
                                           0);
    if (NT_SUCCESS(Status)) {
        Status = STATUS_INSUFFICIENT_RESOURCES;
        Entry = MiCreateEntry(FileName, &Info);
    }
    if (Entry) {
        Status = MiMapDriverImage(Entry, AnsiName);
        if (NT_SUCCESS(Status)) {
            Entry->EntryPoint = (PUCHAR)Entry->DllBase + Info.EntryRva;
            InsertTailList(&PsLoadedModuleList, &Entry->InLoadOrderLinks);
            VfDriverLoadImage(Entry);
            MiNotifyDebugger(Entry, TRUE);
            *EntryOut = Entry;
        } else {
            MiFreeEntry(Entry);
        }
    }
    KeReleaseMutex(&MmSystemLoadLock, FALSE);
    return Status;
}

// The ring of unloaded drivers that debuggers show.
VOID MiRememberUnloadedDriver(PKLDR_DATA_TABLE_ENTRY Entry)
{
    PUNLOADED_DRIVERS Slot = &MmUnloadedDrivers[MmLastUnloadedDriver % MI_UNLOADED_DRIVERS];

    if (Slot->Name.Buffer)
        ExFreePoolWithTag(Slot->Name.Buffer, TAG_LOADER);
    if (!MiCopyName(&Slot->Name, &Entry->BaseDllName))
        Slot->Name.Length = 0;
    Slot->StartAddress = Entry->DllBase;
    Slot->EndAddress = (PUCHAR)Entry->DllBase + Entry->SizeOfImage;
    KeQuerySystemTimePrecise(&Slot->CurrentTime);
    MmLastUnloadedDriver++;
}

// Name of the driver whose image covered an address last, NULL for none.
PUNICODE_STRING MmLocateUnloadedDriver(PVOID Address)
{
    for (ULONG Step = 1; Step <= MI_UNLOADED_DRIVERS && Step <= MmLastUnloadedDriver; Step++) {
        PUNLOADED_DRIVERS Slot =
            &MmUnloadedDrivers[(MmLastUnloadedDriver - Step) % MI_UNLOADED_DRIVERS];

        if (Address >= Slot->StartAddress && Address < Slot->EndAddress)
            return &Slot->Name;
    }
    return NULL;
}

// Images the boot loader brought lie outside the driver region, and their entries outside the pool.
static BOOLEAN MiIsBootImage(PKLDR_DATA_TABLE_ENTRY Entry)
{
    return (ULONG64)Entry->DllBase - KeLoaderBlock->DriverImages.Base >=
           KeLoaderBlock->DriverImages.Size;
}

static VOID MiUnloadSystemImage(PKLDR_DATA_TABLE_ENTRY Entry)
{
    SIZE_T Pages = BYTES_TO_PAGES(Entry->SizeOfImage);

    VfDriverUnloadImage(Entry);
    MiRememberUnloadedDriver(Entry);
    MiNotifyDebugger(Entry, FALSE);
    RemoveEntryList(&Entry->InLoadOrderLinks);
    MiDecommitSystemPages(Entry->DllBase, Pages);
    if (MiIsBootImage(Entry))
        return;
    MiReleaseDriverImage(Entry->DllBase, Entry->SizeOfImage);
    MiState.Vs.DriverCommit -= (LONG)Pages;
    MiFreeEntry(Entry);
}

NTSTATUS MmUnloadSystemImage(PKLDR_DATA_TABLE_ENTRY Entry)
{
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > APC_LEVEL)
        return STATUS_UNSUCCESSFUL;
    KeWaitForSingleObject(&MmSystemLoadLock, WrVirtualMemory, KernelMode, FALSE, NULL);
    MiUnloadSystemImage(Entry);
    KeReleaseMutex(&MmSystemLoadLock, FALSE);
    return STATUS_SUCCESS;
}
