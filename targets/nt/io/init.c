// The I/O manager's object types, and the drivers that are there from the start.
#include "io.h"

#define IO_INITIALIZATION_FAILED 0x69

POBJECT_TYPE IoDriverObjectType;
POBJECT_TYPE IoDeviceObjectType;
POBJECT_TYPE IoFileObjectType;
POBJECT_TYPE IoAdapterObjectType;
POBJECT_TYPE IoControllerObjectType;
LIST_ENTRY IopErrorLogListHead = {&IopErrorLogListHead, &IopErrorLogListHead};
PVOID IopTriageDumpDataBlocks[512];
ULONG IopNumTriageDumpDataBlocks;

static VOID IopCreateObjectType(PCWSTR Name, OB_DELETE_METHOD *Delete, POBJECT_TYPE *Type)
{
    OBJECT_TYPE_INITIALIZER Initializer = {0};
    UNICODE_STRING String;

    RtlInitUnicodeString(&String, Name);
    Initializer.CaseInsensitive = 1;
    Initializer.PoolType = NonPagedPoolNx;
    Initializer.ValidAccessMask = 0x1F01FF;
    Initializer.DeleteProcedure = (PVOID)Delete;
    if (!NT_SUCCESS(ObCreateObjectType(&String, &Initializer, NULL, Type)))
        KeBugCheck(IO_INITIALIZATION_FAILED);
}

// nt and the HAL come first on the list and are not drivers.
static VOID IopInitializeBootDrivers(VOID)
{
    PLIST_ENTRY Link = PsLoadedModuleList.Flink->Flink;

    while (Link != &PsLoadedModuleList && Link->Flink != &PsLoadedModuleList) {
        PKLDR_DATA_TABLE_ENTRY Entry;
        NTSTATUS Status;

        Link = Link->Flink;
        Entry = CONTAINING_RECORD(Link, KLDR_DATA_TABLE_ENTRY, InLoadOrderLinks);
        Status = IopInitializeBuiltinDriver(Entry);
        if (!NT_SUCCESS(Status))
            DbgPrintEx(DPFLTR_SYSTEM_ID, DPFLTR_ERROR_LEVEL, "Boot driver %wZ failed: 0x%08x\n",
                       &Entry->BaseDllName, Status);
    }
}

BOOLEAN IoInitSystem(PKDSIM_LOADER_BLOCK LoaderBlock)
{
    IopCreateObjectType(L"Adapter", NULL, &IoAdapterObjectType);
    IopCreateObjectType(L"Controller", NULL, &IoControllerObjectType);
    IopCreateObjectType(L"Device", IopDeleteDevice, &IoDeviceObjectType);
    IopCreateObjectType(L"Driver", IopDeleteDriver, &IoDriverObjectType);
    IopCreateObjectType(L"File", IopDeleteFile, &IoFileObjectType);
    IopInitializeIrpLookasideLists();
    IopInitializeBootDrivers();
    return TRUE;
}
