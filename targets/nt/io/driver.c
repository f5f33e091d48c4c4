// Driver objects: made for an image, filled by its DriverEntry, undone with it.
#include "io.h"

#define DRIVER_PATH L"\\Driver\\"
#define SERVICES_KEY L"\\REGISTRY\\MACHINE\\SYSTEM\\ControlSet001\\Services\\"
#define DRIVERS_FOLDER L"\\SystemRoot\\System32\\drivers\\"
#define IO_NAME_TAG 'mNoI'         // "IoNm"

static UNICODE_STRING CmRegistryMachineHardwareDescriptionSystemName =
    RTL_CONSTANT_STRING(L"\\REGISTRY\\MACHINE\\HARDWARE\\DESCRIPTION\\SYSTEM");

// Prefix, name and suffix in pool of their own.
static BOOLEAN IopBuildName(PUNICODE_STRING Result, PCWSTR Prefix, PCUNICODE_STRING Name,
                            PCWSTR Suffix)
{
    USHORT Size = (USHORT)((wcslen(Prefix) + wcslen(Suffix) + 1) * sizeof(WCHAR)) + Name->Length;
    PWCHAR Buffer = ExAllocatePoolWithTag(NonPagedPoolNx, Size, IO_NAME_TAG);

    if (Buffer == NULL)
        return FALSE;
    RtlInitEmptyUnicodeString(Result, Buffer, Size);
    RtlAppendUnicodeToString(Result, Prefix);
    RtlAppendUnicodeStringToString(Result, Name);
    RtlAppendUnicodeToString(Result, Suffix);
    return TRUE;
}

static VOID IopFreeName(PUNICODE_STRING Name)
{
    if (Name->Buffer != NULL)
        ExFreePoolWithTag(Name->Buffer, IO_NAME_TAG);
    Name->Buffer = NULL;
}

static VOID IopFillDriverObject(PDRIVER_OBJECT Driver, PKLDR_DATA_TABLE_ENTRY Entry, ULONG Flags)
{
    memset(Driver, 0, sizeof(*Driver) + sizeof(*Driver->DriverExtension));
    Driver->Type = IO_TYPE_DRIVER;
    Driver->Size = sizeof(*Driver);
    Driver->Flags = Flags;
    Driver->DriverStart = Entry->DllBase;
    Driver->DriverSize = Entry->SizeOfImage;
    Driver->DriverSection = Entry;
    Driver->DriverExtension = (PDRIVER_EXTENSION)(Driver + 1);
    Driver->DriverExtension->DriverObject = Driver;
    Driver->HardwareDatabase = &CmRegistryMachineHardwareDescriptionSystemName;
    Driver->DriverInit = (DRIVER_INITIALIZE *)Entry->EntryPoint;
    for (ULONG i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
        Driver->MajorFunction[i] = IopInvalidDeviceRequest;
}

// On failure the image still belongs to the caller.
static NTSTATUS IopCreateDriverObject(PCUNICODE_STRING ServiceName, PKLDR_DATA_TABLE_ENTRY Entry,
                                      ULONG Flags, PDRIVER_OBJECT *NewDriver)
{
    OBJECT_ATTRIBUTES Attributes;
    UNICODE_STRING Name;
    PDRIVER_OBJECT Driver;
    NTSTATUS Status;

    if (!IopBuildName(&Name, DRIVER_PATH, ServiceName, L""))
        return STATUS_INSUFFICIENT_RESOURCES;
    InitializeObjectAttributes(&Attributes, &Name, OBJ_PERMANENT | OBJ_CASE_INSENSITIVE);
    Status = ObCreateObject(KernelMode, IoDriverObjectType, &Attributes, KernelMode, NULL,
                            sizeof(DRIVER_OBJECT) + sizeof(DRIVER_EXTENSION), 0, 0,
                            (PVOID *)&Driver);
    if (NT_SUCCESS(Status))
        Status = ObInsertObject(Driver, NULL, 0, 0, NULL, NULL);
    if (!NT_SUCCESS(Status)) {
        IopFreeName(&Name);
        return Status;
    }
    IopFillDriverObject(Driver, Entry, Flags);
    Driver->DriverName = Name;
    if (!IopBuildName(&Driver->DriverExtension->ServiceKeyName, L"", ServiceName, L"")) {
        Driver->DriverSection = NULL;
        ObMakeTemporaryObject(Driver);
        ObDereferenceObject(Driver);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *NewDriver = Driver;
    return STATUS_SUCCESS;
}

static NTSTATUS PnpCallDriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    return Driver->DriverInit(Driver, RegistryPath);
}

static NTSTATUS IopStartDriver(PCUNICODE_STRING ServiceName, PKLDR_DATA_TABLE_ENTRY Entry,
                               ULONG Flags)
{
    UNICODE_STRING RegistryPath;
    PDRIVER_OBJECT Driver;
    NTSTATUS Status;

    if (!IopBuildName(&RegistryPath, SERVICES_KEY, ServiceName, L""))
        return STATUS_INSUFFICIENT_RESOURCES;
    Status = IopCreateDriverObject(ServiceName, Entry, Flags, &Driver);
    if (!NT_SUCCESS(Status)) {
        IopFreeName(&RegistryPath);
        MmUnloadSystemImage(Entry);
        return Status;
    }
    Status = PnpCallDriverEntry(Driver, &RegistryPath);
    IopFreeName(&RegistryPath);
    if (NT_SUCCESS(Status)) {
        IopReadyDeviceObjects(Driver);
    } else {
        ObMakeTemporaryObject(Driver);
        ObDereferenceObject(Driver);
    }
    return Status;
}

// Loads \SystemRoot\System32\drivers\<service>.sys and starts it.
NTSTATUS IopLoadDriver(PCUNICODE_STRING ServiceName)
{
    PKLDR_DATA_TABLE_ENTRY Entry;
    UNICODE_STRING FileName;
    NTSTATUS Status;

    if (!IopBuildName(&FileName, DRIVERS_FOLDER, ServiceName, L".sys"))
        return STATUS_INSUFFICIENT_RESOURCES;
    Status = MmLoadSystemImage(&FileName, &Entry);
    IopFreeName(&FileName);
    return NT_SUCCESS(Status) ? IopStartDriver(ServiceName, Entry, DRVO_LEGACY_DRIVER) : Status;
}

// Starts a driver whose image the boot loader has brought. Its service is named like its file.
NTSTATUS IopInitializeBuiltinDriver(PKLDR_DATA_TABLE_ENTRY Entry)
{
    UNICODE_STRING ServiceName = Entry->BaseDllName;
    USHORT Length = 0;

    while (Length < ServiceName.Length && ServiceName.Buffer[Length / sizeof(WCHAR)] != '.')
        Length += sizeof(WCHAR);
    ServiceName.Length = Length;
    return IopStartDriver(&ServiceName, Entry, DRVO_LEGACY_DRIVER);
}

// The last reference to a driver object is gone: so is the driver.
VOID IopDeleteDriver(PVOID Object)
{
    PDRIVER_OBJECT Driver = Object;

    if (Driver->DriverSection != NULL)
        MmUnloadSystemImage(Driver->DriverSection);
    IopFreeName(&Driver->DriverName);
    if (Driver->DriverExtension != NULL)
        IopFreeName(&Driver->DriverExtension->ServiceKeyName);
}
