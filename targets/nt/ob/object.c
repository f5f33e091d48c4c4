// Objects: a header, optional headers below it, the body above it, and a count of pointers to it.
#include "ob.h"

#define REFERENCE_BY_POINTER 0x18          // bug check: a reference count that cannot be

POBJECT_TYPE ObTypeIndexTable[256];
UCHAR ObHeaderCookie;
UCHAR ObpInfoMaskToOffset[256];

// Objects whose last reference went away above PASSIVE_LEVEL wait here for a worker thread.
static POBJECT_HEADER ObpRemoveObjectList;
static WORK_QUEUE_ITEM ObpRemoveObjectWorkItem;

static UCHAR ObpHeaderKey(POBJECT_HEADER Header)
{
    return (UCHAR)((ULONG64)Header >> 8) ^ ObHeaderCookie;
}

VOID ObpSetTypeIndex(POBJECT_HEADER Header, POBJECT_TYPE Type)
{
    Header->TypeIndex = Type->Index ^ ObpHeaderKey(Header);
}

POBJECT_TYPE ObGetObjectType(PVOID Object)
{
    POBJECT_HEADER Header = OBJECT_TO_OBJECT_HEADER(Object);

    return ObTypeIndexTable[(UCHAR)(Header->TypeIndex ^ ObpHeaderKey(Header))];
}

PVOID ObpInfoHeader(POBJECT_HEADER Header, UCHAR Bit)
{
    if (!(Header->InfoMask & Bit))
        return NULL;
    return (PUCHAR)Header - ObpInfoMaskToOffset[Header->InfoMask & (Bit | (Bit - 1))];
}

// The start of the object's pool block.
static PVOID ObpObjectBlock(POBJECT_HEADER Header)
{
    return (PUCHAR)Header - ObpInfoMaskToOffset[Header->InfoMask];
}

static UCHAR ObpChooseInfoMask(POBJECT_TYPE Type, PUNICODE_STRING Name, ULONG Attributes)
{
    UCHAR Mask = 0;

    if (Type == NULL || Type->TypeInfo.MaintainTypeList)
        Mask |= OB_INFO_CREATOR;
    if (Name != NULL)
        Mask |= OB_INFO_NAME;
    if (Type != NULL && Type->TypeInfo.MaintainHandleCount)
        Mask |= OB_INFO_HANDLE;
    if (Attributes & OBJ_EXCLUSIVE)
        Mask |= OB_INFO_PROCESS;
    return Mask;
}

static BOOLEAN ObpCaptureName(POBJECT_HEADER Header, PUNICODE_STRING Name)
{
    POBJECT_HEADER_NAME_INFO Info = ObpInfoHeader(Header, OB_INFO_NAME);

    Info->Name.Buffer = ExAllocatePoolWithTag(PagedPool, Name->Length + sizeof(WCHAR), OB_NAME_TAG);
    if (Info->Name.Buffer == NULL)
        return FALSE;
    Info->Name.MaximumLength = Name->Length + sizeof(WCHAR);
    Info->ReferenceCount = 1;
    RtlCopyUnicodeString(&Info->Name, Name);
    return TRUE;
}

static VOID ObpLinkCreator(POBJECT_HEADER Header, POBJECT_TYPE Type)
{
    POBJECT_HEADER_CREATOR_INFO Info = ObpInfoHeader(Header, OB_INFO_CREATOR);

    if (Info == NULL)
        return;
    Info->CreatorUniqueProcess = PsGetCurrentProcessId();
    InitializeListHead(&Info->TypeList);
    if (Type == NULL)
        return;
    ExAcquirePushLockExclusive(&Type->TypeLock);
    InsertTailList(&Type->TypeList, &Info->TypeList);
    ExReleasePushLockExclusive(&Type->TypeLock);
}

static NTSTATUS ObpAllocateObject(POBJECT_TYPE Type, PUNICODE_STRING Name, ULONG Attributes,
                                  ULONG BodySize, POBJECT_HEADER *NewHeader)
{
    UCHAR Mask = ObpChooseInfoMask(Type, Name, Attributes);
    SIZE_T Size = ObpInfoMaskToOffset[Mask] + FIELD_OFFSET(OBJECT_HEADER, Body) + BodySize;
    POOL_TYPE PoolType = Type == NULL ? NonPagedPoolNx : Type->TypeInfo.PoolType;
    ULONG Tag = Type == NULL ? OB_TYPE_TAG : Type->Key;
    PUCHAR Block = ExAllocatePoolWithTag(PoolType, Size, Tag | PROTECTED_POOL);
    POBJECT_HEADER Header;

    if (Block == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    memset(Block, 0, Size);
    Header = (POBJECT_HEADER)(Block + ObpInfoMaskToOffset[Mask]);
    Header->PointerCount = 1;
    Header->InfoMask = Mask;
    Header->NewObject = 1;
    Header->KernelObject = 1;
    Header->PermanentObject = (Attributes & OBJ_PERMANENT) != 0;
    Header->ExclusiveObject = (Attributes & OBJ_EXCLUSIVE) != 0;
    if (Name != NULL && !ObpCaptureName(Header, Name)) {
        ExFreePoolWithTag(Block, Tag | PROTECTED_POOL);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ObpLinkCreator(Header, Type);
    if (Type != NULL) {
        ObpSetTypeIndex(Header, Type);
        if (InterlockedIncrement((PLONG)&Type->TotalNumberOfObjects) >
            (LONG)Type->HighWaterNumberOfObjects)
            Type->HighWaterNumberOfObjects = Type->TotalNumberOfObjects;
    }
    *NewHeader = Header;
    return STATUS_SUCCESS;
}

// The object begins with one reference, the creator's. ObInsertObject must follow.
NTSTATUS ObCreateObject(KPROCESSOR_MODE ProbeMode, POBJECT_TYPE Type, POBJECT_ATTRIBUTES Attributes,
                        KPROCESSOR_MODE OwnershipMode, PVOID ParseContext, ULONG BodySize,
                        ULONG PagedCharge, ULONG NonPagedCharge, PVOID *Object)
{
    PUNICODE_STRING Name = Attributes == NULL ? NULL : Attributes->ObjectName;
    ULONG Flags = Attributes == NULL ? 0 : Attributes->Attributes;
    POBJECT_CREATE_INFORMATION Info;
    POBJECT_HEADER Header;
    NTSTATUS Status;

    Info = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Info), OB_CREATE_INFO_TAG);
    if (Info == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    memset(Info, 0, sizeof(*Info));
    Info->Attributes = Flags;
    Info->RootDirectory = Attributes == NULL ? NULL : Attributes->RootDirectory;
    Info->ProbeMode = ProbeMode;
    Info->PagedPoolCharge = PagedCharge;
    Info->NonPagedPoolCharge = NonPagedCharge;
    Status = ObpAllocateObject(Type, Name != NULL && Name->Length != 0 ? Name : NULL, Flags,
                               BodySize, &Header);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(Info, OB_CREATE_INFO_TAG);
        return Status;
    }
    Header->ObjectCreateInfo = Info;
    *Object = &Header->Body;
    return STATUS_SUCCESS;
}

// Enters the object under its name, if it has one, and opens a handle, if one is wanted. With a
// handle the creator's reference is used up; without one the creator keeps it. On failure the
// object is gone.
NTSTATUS ObInsertObject(PVOID Object, PVOID AccessState, ACCESS_MASK Access, ULONG Bias,
                        PVOID *NewObject, PHANDLE Handle)
{
    POBJECT_HEADER Header = OBJECT_TO_OBJECT_HEADER(Object);
    POBJECT_HEADER_NAME_INFO Name = ObpInfoHeader(Header, OB_INFO_NAME);
    POBJECT_CREATE_INFORMATION Info = Header->ObjectCreateInfo;
    ULONG Attributes = Info->Attributes;
    NTSTATUS Status = STATUS_SUCCESS;
    PVOID Found;

    Header->ObjectCreateInfo = NULL;
    ExFreePoolWithTag(Info, OB_CREATE_INFO_TAG);
    Header->NewObject = 0;
    if (Name != NULL)
        Status = ObpLookupObjectName(NULL, &Name->Name, Attributes, Object, &Found);
    if (NT_SUCCESS(Status) && Handle != NULL)
        Status = ObpCreateHandle(Object, Attributes, Access, Handle);
    if (!NT_SUCCESS(Status)) {
        ObMakeTemporaryObject(Object);
        ObDereferenceObject(Object);
        return Status;
    }
    if (NewObject != NULL) {
        ObReferenceObject(Object);
        *NewObject = Object;
    }
    if (Handle != NULL)
        ObDereferenceObject(Object);
    return STATUS_SUCCESS;
}

static VOID ObpFreeObject(POBJECT_HEADER Header, POBJECT_TYPE Type)
{
    POBJECT_HEADER_CREATOR_INFO Creator = ObpInfoHeader(Header, OB_INFO_CREATOR);
    POBJECT_HEADER_NAME_INFO Name = ObpInfoHeader(Header, OB_INFO_NAME);

    InterlockedDecrement((PLONG)&Type->TotalNumberOfObjects);
    if (Creator != NULL && Creator->TypeList.Flink != NULL) {
        ExAcquirePushLockExclusive(&Type->TypeLock);
        RemoveEntryList(&Creator->TypeList);
        ExReleasePushLockExclusive(&Type->TypeLock);
    }
    if (Name != NULL && Name->Name.Buffer != NULL)
        ExFreePoolWithTag(Name->Name.Buffer, OB_NAME_TAG);
    if (Header->ObjectCreateInfo != NULL)
        ExFreePoolWithTag(Header->ObjectCreateInfo, OB_CREATE_INFO_TAG);
    ObpDereferenceSecurityDescriptor(Header);
    ExFreePoolWithTag(ObpObjectBlock(Header), Type->Key | PROTECTED_POOL);
}

// Nothing refers to the object any more: its type undoes it, then its memory is freed.
VOID ObpRemoveObjectRoutine(POBJECT_HEADER Header)
{
    POBJECT_TYPE Type = ObGetObjectType(&Header->Body);
    OB_DELETE_METHOD *Delete = (OB_DELETE_METHOD *)Type->TypeInfo.DeleteProcedure;

    if (Delete != NULL)
        Delete(&Header->Body);
    ObpFreeObject(Header, Type);
}

static VOID ObpProcessRemoveObjectQueue(PVOID Context)
{
    POBJECT_HEADER Header = InterlockedExchangePointer((PVOID *)&ObpRemoveObjectList, NULL);

    while (Header != NULL) {
        POBJECT_HEADER Next = Header->NextToFree;
        Header->NextToFree = NULL;
        ObpRemoveObjectRoutine(Header);
        Header = Next;
    }
}

static VOID ObpDeferObjectDeletion(POBJECT_HEADER Header)
{
    POBJECT_HEADER First;

    do {
        First = ObpRemoveObjectList;
        Header->NextToFree = First;
    } while (InterlockedCompareExchangePointer((PVOID *)&ObpRemoveObjectList, Header, First) !=
             First);
    if (First == NULL) {
        ExInitializeWorkItem(&ObpRemoveObjectWorkItem, ObpProcessRemoveObjectQueue, NULL);
        ExQueueWorkItem(&ObpRemoveObjectWorkItem, CriticalWorkQueue);
    }
}

LONG_PTR ObReferenceObjectEx(PVOID Object, ULONG References)
{
    POBJECT_HEADER Header = OBJECT_TO_OBJECT_HEADER(Object);
    LONG_PTR Before = InterlockedExchangeAdd64(&Header->PointerCount, References);

    if (Before <= 0)
        KeBugCheckEx(REFERENCE_BY_POINTER, 0, (ULONG_PTR)Object, 0x10,
                     (ULONG_PTR)(Before + References));
    return Before + References;
}

LONG_PTR ObDereferenceObjectEx(PVOID Object, ULONG References)
{
    POBJECT_HEADER Header = OBJECT_TO_OBJECT_HEADER(Object);
    LONG_PTR Count =
        InterlockedExchangeAdd64(&Header->PointerCount, -(LONG64)References) - References;

    if (Count < 0)
        KeBugCheckEx(REFERENCE_BY_POINTER, 0, (ULONG_PTR)Object, 1, (ULONG_PTR)Count);
    if (Count == 0) {
        if (KeGetCurrentIrql() == PASSIVE_LEVEL)
            ObpRemoveObjectRoutine(Header);
        else
            ObpDeferObjectDeletion(Header);
    }
    return Count;
}

LONG_PTR ObfReferenceObject(PVOID Object)
{
    return ObReferenceObjectEx(Object, 1);
}

LONG_PTR ObfDereferenceObject(PVOID Object)
{
    return ObDereferenceObjectEx(Object, 1);
}

NTSTATUS ObReferenceObjectByPointer(PVOID Object, ACCESS_MASK Access, POBJECT_TYPE Type,
                                    KPROCESSOR_MODE Mode)
{
    if (Type != NULL && ObGetObjectType(Object) != Type)
        return STATUS_OBJECT_TYPE_MISMATCH;
    ObReferenceObject(Object);
    return STATUS_SUCCESS;
}

// The object loses its name when no handle keeps it.
static VOID ObpDeleteNameCheck(PVOID Object)
{
    POBJECT_HEADER Header = OBJECT_TO_OBJECT_HEADER(Object);
    POBJECT_HEADER_NAME_INFO Name = ObpInfoHeader(Header, OB_INFO_NAME);
    POBJECT_DIRECTORY Directory = Name == NULL ? NULL : Name->Directory;

    if (Directory == NULL || Header->HandleCount != 0 || Header->PermanentObject)
        return;
    if (ObpDeleteDirectoryEntry(Directory, Object)) {
        Name->Directory = NULL;
        ObDereferenceObject(Object);
    }
}

VOID ObMakeTemporaryObject(PVOID Object)
{
    OBJECT_TO_OBJECT_HEADER(Object)->PermanentObject = 0;
    ObpDeleteNameCheck(Object);
}

VOID ObpDecrementHandleCount(PVOID Object)
{
    POBJECT_TYPE Type = ObGetObjectType(Object);
    LONG64 Count = InterlockedExchangeAdd64(&OBJECT_TO_OBJECT_HEADER(Object)->HandleCount, -1) - 1;
    OB_CLOSE_METHOD *Close = (OB_CLOSE_METHOD *)Type->TypeInfo.CloseProcedure;

    InterlockedDecrement((PLONG)&Type->TotalNumberOfHandles);
    if (Close != NULL)
        Close(PsGetCurrentProcess(), Object, (ULONG64)Count + 1, (ULONG64)Count + 1);
    if (Count == 0)
        ObpDeleteNameCheck(Object);
}

NTSTATUS ObReferenceObjectByName(PUNICODE_STRING Name, ULONG Attributes, PVOID AccessState,
                                 ACCESS_MASK Access, POBJECT_TYPE Type, KPROCESSOR_MODE Mode,
                                 PVOID ParseContext, PVOID *Object)
{
    NTSTATUS Status = ObpLookupObjectName(NULL, Name, Attributes, NULL, Object);

    if (NT_SUCCESS(Status) && Type != NULL && ObGetObjectType(*Object) != Type) {
        ObDereferenceObject(*Object);
        *Object = NULL;
        Status = STATUS_OBJECT_TYPE_MISMATCH;
    }
    return Status;
}
