// Object types and the first directories.
#include "ob.h"

POBJECT_TYPE ObpTypeObjectType;
POBJECT_TYPE ObpDirectoryObjectType;
POBJECT_TYPE ObpSymbolicLinkObjectType;
POBJECT_DIRECTORY ObpTypeDirectoryObject;
POBJECT_TYPE ExEventObjectType;
POBJECT_TYPE ExMutantObjectType;
POBJECT_TYPE ExSemaphoreObjectType;
POBJECT_TYPE ExTimerObjectType;
POBJECT_TYPE IoCompletionObjectType;
POBJECT_TYPE MmSectionObjectType;
POBJECT_TYPE MmSessionObjectType;
PVOID ObpDefaultObject;

#define OBJECT_INITIALIZATION_FAILED 0x5D
#define OB_FIRST_TYPE_INDEX 2              // 0 means none, 1 marks a freed header

// What a type name stands for. Component types are created by the component that implements them.
typedef enum _OB_TYPE_KIND { OwnType, PagedType, NonPagedType, ComponentType } OB_TYPE_KIND;
typedef struct _OB_KNOWN_TYPE {
    PCWSTR Name;
    OB_TYPE_KIND Kind;
    POBJECT_TYPE *Variable;
} OB_KNOWN_TYPE;

// In the order of their indexes in 19041, as \ObjectTypes of such a system lists them.
static const OB_KNOWN_TYPE ObpKnownTypes[] = {
    {L"Type", OwnType, NULL},
    {L"Directory", OwnType, NULL},
    {L"SymbolicLink", OwnType, NULL},
    {L"Token", ComponentType, NULL},
    {L"Job", NonPagedType, NULL},
    {L"Process", ComponentType, NULL},
    {L"Thread", ComponentType, NULL},
    {L"Partition", NonPagedType, NULL},
    {L"UserApcReserve", NonPagedType, NULL},
    {L"IoCompletionReserve", NonPagedType, NULL},
    {L"ActivityReference", NonPagedType, NULL},
    {L"PsSiloContextPaged", PagedType, NULL},
    {L"PsSiloContextNonPaged", NonPagedType, NULL},
    {L"DebugObject", NonPagedType, NULL},
    {L"Event", NonPagedType, &ExEventObjectType},
    {L"Mutant", NonPagedType, &ExMutantObjectType},
    {L"Callback", NonPagedType, NULL},
    {L"Semaphore", NonPagedType, &ExSemaphoreObjectType},
    {L"Timer", NonPagedType, &ExTimerObjectType},
    {L"IRTimer", NonPagedType, NULL},
    {L"Profile", NonPagedType, NULL},
    {L"KeyedEvent", PagedType, NULL},
    {L"WindowStation", NonPagedType, NULL},
    {L"Desktop", NonPagedType, NULL},
    {L"Composition", NonPagedType, NULL},
    {L"RawInputManager", NonPagedType, NULL},
    {L"CoreMessaging", NonPagedType, NULL},
    {L"ActivationObject", NonPagedType, NULL},
    {L"TpWorkerFactory", NonPagedType, NULL},
    {L"Adapter", ComponentType, NULL},
    {L"Controller", ComponentType, NULL},
    {L"Device", ComponentType, NULL},
    {L"Driver", ComponentType, NULL},
    {L"IoCompletion", NonPagedType, &IoCompletionObjectType},
    {L"WaitCompletionPacket", NonPagedType, NULL},
    {L"File", ComponentType, NULL},
    {L"TmTm", NonPagedType, NULL},
    {L"TmTx", NonPagedType, NULL},
    {L"TmRm", NonPagedType, NULL},
    {L"TmEn", NonPagedType, NULL},
    {L"Section", PagedType, &MmSectionObjectType},
    {L"Session", NonPagedType, &MmSessionObjectType},
    {L"Key", PagedType, NULL},
    {L"RegistryTransaction", NonPagedType, NULL},
    {L"ALPC Port", NonPagedType, NULL},
    {L"EnergyTracker", PagedType, NULL},
    {L"PowerRequest", NonPagedType, NULL},
    {L"WmiGuid", NonPagedType, NULL},
    {L"EtwRegistration", NonPagedType, NULL},
    {L"EtwSessionDemuxEntry", NonPagedType, NULL},
    {L"EtwConsumer", NonPagedType, NULL},
    {L"CoverageSampler", NonPagedType, NULL},
    {L"DmaDomain", NonPagedType, NULL},
    {L"PcwObject", PagedType, NULL},
    {L"FilterConnectionPort", NonPagedType, NULL},
    {L"FilterCommunicationPort", NonPagedType, NULL},
};
static UCHAR ObpNextTypeIndex = OB_FIRST_TYPE_INDEX + ARRAYSIZE(ObpKnownTypes);

static const PCWSTR ObpDirectories[] = {
    L"\\ObjectTypes", L"\\Driver", L"\\Device", L"\\GLOBAL??", L"\\BaseNamedObjects",
    L"\\KernelObjects", L"\\Callback", L"\\FileSystem", L"\\Sessions", L"\\RPC Control",
    L"\\Security", L"\\Windows", L"\\KnownDlls", L"\\NLS", L"\\ArcName", L"\\Sessions\\0",
    L"\\Sessions\\1",
};

static UCHAR ObpTypeIndex(PCUNICODE_STRING Name)
{
    UNICODE_STRING Known;

    for (UCHAR i = 0; i < ARRAYSIZE(ObpKnownTypes); i++) {
        RtlInitUnicodeString(&Known, ObpKnownTypes[i].Name);
        if (RtlEqualUnicodeString(&Known, Name, FALSE))
            return OB_FIRST_TYPE_INDEX + i;
    }
    return ObpNextTypeIndex++;
}

// A type's key is its pool tag: the first four characters of its name, but for the very first one.
static ULONG ObpTypeKey(PCUNICODE_STRING Name)
{
    ULONG Key = 0;

    for (ULONG i = 0; i < sizeof(Key); i++)
        Key |= (ULONG)(i < Name->Length / sizeof(WCHAR) ? (UCHAR)Name->Buffer[i] : ' ') << (8 * i);
    return Key;
}

// Types made before \ObjectTypes exists enter it when it does.
static NTSTATUS ObpEnterType(POBJECT_TYPE Type)
{
    return ObpTypeDirectoryObject == NULL ? STATUS_SUCCESS
                                          : ObInsertObject(Type, NULL, 0, 0, NULL, NULL);
}

static BOOLEAN ObpNameType(POBJECT_TYPE Type, PUNICODE_STRING Name)
{
    Type->Name.MaximumLength = Name->Length + sizeof(WCHAR);
    Type->Name.Buffer = ExAllocatePoolWithTag(PagedPool, Type->Name.MaximumLength, OB_NAME_TAG);
    if (Type->Name.Buffer == NULL)
        return FALSE;
    RtlCopyUnicodeString(&Type->Name, Name);
    return TRUE;
}

// The very first type is its own type.
static VOID ObpAdoptFirstType(POBJECT_TYPE Type)
{
    POBJECT_HEADER_CREATOR_INFO Creator =
        ObpInfoHeader(OBJECT_TO_OBJECT_HEADER(Type), OB_INFO_CREATOR);

    ObpTypeObjectType = Type;
    Type->TypeInfo.MaintainTypeList = 1;
    Type->TypeInfo.PoolType = NonPagedPoolNx;
    Type->TotalNumberOfObjects = Type->HighWaterNumberOfObjects = 1;
    InsertTailList(&Type->TypeList, &Creator->TypeList);
    ObpSetTypeIndex(OBJECT_TO_OBJECT_HEADER(Type), Type);
}

NTSTATUS ObCreateObjectType(PUNICODE_STRING Name, POBJECT_TYPE_INITIALIZER Initializer,
                            PVOID SecurityDescriptor, POBJECT_TYPE *NewType)
{
    WCHAR Buffer[64];
    UNICODE_STRING Path;
    OBJECT_ATTRIBUTES Attributes;
    POBJECT_TYPE Type;
    NTSTATUS Status;
    PVOID Object;

    RtlInitEmptyUnicodeString(&Path, Buffer, sizeof(Buffer));
    RtlAppendUnicodeToString(&Path, L"\\ObjectTypes\\");
    RtlAppendUnicodeStringToString(&Path, Name);
    InitializeObjectAttributes(&Attributes, &Path, OBJ_PERMANENT | OBJ_CASE_INSENSITIVE);
    Status = ObCreateObject(KernelMode, ObpTypeObjectType, &Attributes, KernelMode, NULL,
                            sizeof(*Type), 0, 0, &Object);
    if (!NT_SUCCESS(Status))
        return Status;
    Type = Object;
    InitializeListHead(&Type->TypeList);
    InitializeListHead(&Type->CallbackList);
    Type->Index = ObpTypeIndex(Name);
    Type->Key = ObpTypeObjectType == NULL ? OB_TYPE_TAG : ObpTypeKey(Name);
    Type->TypeInfo = *Initializer;
    Type->TypeInfo.Length = sizeof(Type->TypeInfo);
    if (!ObpNameType(Type, Name)) {
        ObMakeTemporaryObject(Type);
        ObDereferenceObject(Type);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ObTypeIndexTable[Type->Index] = Type;
    if (ObpTypeObjectType == NULL)
        ObpAdoptFirstType(Type);
    *NewType = Type;
    return ObpEnterType(Type);
}

static VOID ObpCreateKnownType(const OB_KNOWN_TYPE *Known, OB_DELETE_METHOD *Delete,
                               POBJECT_TYPE *Type)
{
    OBJECT_TYPE_INITIALIZER Initializer = {0};
    UNICODE_STRING Name;

    RtlInitUnicodeString(&Name, Known->Name);
    Initializer.CaseInsensitive = 1;
    Initializer.PoolType = Known->Kind == NonPagedType ? NonPagedPoolNx : PagedPool;
    Initializer.ValidAccessMask = 0x1F0003;
    Initializer.DeleteProcedure = (PVOID)Delete;
    if (!NT_SUCCESS(ObCreateObjectType(&Name, &Initializer, NULL, Type)))
        KeBugCheck(OBJECT_INITIALIZATION_FAILED);
}

static VOID ObpInitializeInfoMaskToOffset(VOID)
{
    static const UCHAR Sizes[8] = {
        sizeof(OBJECT_HEADER_CREATOR_INFO), sizeof(OBJECT_HEADER_NAME_INFO),
        sizeof(OBJECT_HEADER_HANDLE_INFO),  sizeof(OBJECT_HEADER_QUOTA_INFO),
        sizeof(OBJECT_HEADER_PROCESS_INFO), sizeof(OBJECT_HEADER_AUDIT_INFO),
        sizeof(OBJECT_HEADER_EXTENDED_INFO), sizeof(OBJECT_HEADER_PADDING_INFO),
    };

    for (ULONG Mask = 0; Mask < 256; Mask++)
        for (ULONG Bit = 0; Bit < 8; Bit++)
            if (Mask & (1u << Bit))
                ObpInfoMaskToOffset[Mask] += Sizes[Bit];
}

static VOID ObpCreateTypes(VOID)
{
    POBJECT_TYPE Type;

    ObpCreateKnownType(&ObpKnownTypes[0], NULL, &Type);
    ObpCreateKnownType(&ObpKnownTypes[1], NULL, &ObpDirectoryObjectType);
    ObpCreateKnownType(&ObpKnownTypes[2], ObpDeleteSymbolicLink, &ObpSymbolicLinkObjectType);
    for (ULONG i = 0; i < ARRAYSIZE(ObpKnownTypes); i++) {
        const OB_KNOWN_TYPE *Known = &ObpKnownTypes[i];
        if (Known->Kind == PagedType || Known->Kind == NonPagedType)
            ObpCreateKnownType(Known, NULL, Known->Variable != NULL ? Known->Variable : &Type);
    }
}

static VOID ObpCreateDirectories(VOID)
{
    ObpRootDirectoryObject = ObpCreateDirectory(L"\\");
    for (ULONG i = 0; i < ARRAYSIZE(ObpDirectories); i++) {
        POBJECT_DIRECTORY Directory = ObpCreateDirectory(ObpDirectories[i]);
        if (Directory == NULL)
            KeBugCheck(OBJECT_INITIALIZATION_FAILED);
        if (i == 0)
            ObpTypeDirectoryObject = Directory;
    }
}

static VOID ObpCreateLink(PCWSTR Name, PCWSTR Target)
{
    UNICODE_STRING NameString, TargetString;

    RtlInitUnicodeString(&NameString, Name);
    RtlInitUnicodeString(&TargetString, Target);
    if (!NT_SUCCESS(ObpCreateSymbolicLink(&NameString, &TargetString)))
        KeBugCheck(OBJECT_INITIALIZATION_FAILED);
}

BOOLEAN ObInitSystem(VOID)
{
    ObHeaderCookie = (UCHAR)KeLoaderBlock->Entropy[2];
    ObpInitializeInfoMaskToOffset();
    ObpCreateTypes();
    ObpCreateDirectories();
    for (ULONG i = 0; i < ARRAYSIZE(ObTypeIndexTable); i++)
        if (ObTypeIndexTable[i] != NULL && !NT_SUCCESS(ObpEnterType(ObTypeIndexTable[i])))
            return FALSE;
    ObpCreateLink(L"\\??", L"\\GLOBAL??");
    ObpCreateLink(L"\\DosDevices", L"\\??");
    ObpKernelHandleTable = ExCreateHandleTable(NULL);
    return ObpKernelHandleTable != NULL;
}
