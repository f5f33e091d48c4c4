// The name space: directories of 37 hash chains, and the walk along a path.
#include "ob.h"

#define SYMBOLIC_LINK_DEPTH 16

POBJECT_DIRECTORY ObpRootDirectoryObject;

// 3/2 of the hash so far plus itself, plus the next character in upper case.
static ULONG ObpHashName(PCUNICODE_STRING Name)
{
    ULONG Hash = 0;

    for (ULONG i = 0; i < Name->Length / sizeof(WCHAR); i++)
        Hash += (Hash << 1) + (Hash >> 1) + RtlUpcaseUnicodeChar(Name->Buffer[i]);
    return Hash;
}

static PUNICODE_STRING ObpObjectName(PVOID Object)
{
    POBJECT_HEADER_NAME_INFO Info = ObpInfoHeader(OBJECT_TO_OBJECT_HEADER(Object), OB_INFO_NAME);

    return &Info->Name;
}

// The named object, referenced; NULL when the directory has no such name.
PVOID ObpLookupDirectoryEntry(POBJECT_DIRECTORY Directory, PCUNICODE_STRING Name)
{
    ULONG Hash = ObpHashName(Name);
    POBJECT_DIRECTORY_ENTRY Entry;
    PVOID Object = NULL;

    ExAcquirePushLockExclusive(&Directory->Lock);
    for (Entry = Directory->HashBuckets[Hash % NUMBER_HASH_BUCKETS]; Entry != NULL;
         Entry = Entry->ChainLink)
        if (Entry->HashValue == Hash &&
            RtlEqualUnicodeString(ObpObjectName(Entry->Object), Name, TRUE)) {
            Object = Entry->Object;
            ObReferenceObject(Object);
            break;
        }
    ExReleasePushLockExclusive(&Directory->Lock);
    return Object;
}

// Enters Object, which takes a reference, under Name: its name becomes just this last component.
static NTSTATUS ObpInsertDirectoryEntry(POBJECT_DIRECTORY Directory, PCUNICODE_STRING Name,
                                        PVOID Object)
{
    POBJECT_HEADER_NAME_INFO Info = ObpInfoHeader(OBJECT_TO_OBJECT_HEADER(Object), OB_INFO_NAME);
    POBJECT_DIRECTORY_ENTRY Entry =
        ExAllocatePoolWithTag(PagedPool, sizeof(*Entry), OB_DIRECTORY_TAG);
    PWCHAR Buffer = ExAllocatePoolWithTag(PagedPool, Name->Length + sizeof(WCHAR), OB_NAME_TAG);
    UNICODE_STRING Component;

    if (Entry == NULL || Buffer == NULL) {
        if (Entry != NULL)
            ExFreePoolWithTag(Entry, OB_DIRECTORY_TAG);
        if (Buffer != NULL)
            ExFreePoolWithTag(Buffer, OB_NAME_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlInitEmptyUnicodeString(&Component, Buffer, Name->Length + sizeof(WCHAR));
    RtlCopyUnicodeString(&Component, Name);
    ExFreePoolWithTag(Info->Name.Buffer, OB_NAME_TAG);
    Info->Name = Component;
    Info->Directory = Directory;
    ObReferenceObject(Object);
    Entry->Object = Object;
    Entry->HashValue = ObpHashName(&Component);
    ExAcquirePushLockExclusive(&Directory->Lock);
    Entry->ChainLink = Directory->HashBuckets[Entry->HashValue % NUMBER_HASH_BUCKETS];
    Directory->HashBuckets[Entry->HashValue % NUMBER_HASH_BUCKETS] = Entry;
    ExReleasePushLockExclusive(&Directory->Lock);
    return STATUS_SUCCESS;
}

// FALSE when the object was not there. The caller drops the directory's reference.
BOOLEAN ObpDeleteDirectoryEntry(POBJECT_DIRECTORY Directory, PVOID Object)
{
    ULONG Hash = ObpHashName(ObpObjectName(Object));
    POBJECT_DIRECTORY_ENTRY *Link, Entry;

    ExAcquirePushLockExclusive(&Directory->Lock);
    Link = &Directory->HashBuckets[Hash % NUMBER_HASH_BUCKETS];
    while (*Link != NULL && (*Link)->Object != Object)
        Link = &(*Link)->ChainLink;
    Entry = *Link;
    if (Entry != NULL)
        *Link = Entry->ChainLink;
    ExReleasePushLockExclusive(&Directory->Lock);
    if (Entry == NULL)
        return FALSE;
    ExFreePoolWithTag(Entry, OB_DIRECTORY_TAG);
    return TRUE;
}

// Cuts the first component off Path.
static UNICODE_STRING ObpNextComponent(PUNICODE_STRING Path)
{
    UNICODE_STRING Component;
    USHORT Length = 0;

    if (Path->Length != 0 && Path->Buffer[0] == '\\') {
        Path->Buffer++;
        Path->Length -= sizeof(WCHAR);
    }
    while (Length < Path->Length && Path->Buffer[Length / sizeof(WCHAR)] != '\\')
        Length += sizeof(WCHAR);
    Component.Buffer = Path->Buffer;
    Component.Length = Component.MaximumLength = Length;
    Path->Buffer += Length / sizeof(WCHAR);
    Path->Length -= Length;
    return Component;
}

// Target of a symbolic link plus what follows the link in the path; freed by the caller.
static BOOLEAN ObpSubstituteLink(POBJECT_SYMBOLIC_LINK Link, PCUNICODE_STRING Rest,
                                 PUNICODE_STRING Path)
{
    USHORT Length = Link->LinkTarget.Length + Rest->Length;

    Path->Buffer = ExAllocatePoolWithTag(PagedPool, Length + sizeof(WCHAR), OB_NAME_TAG);
    if (Path->Buffer == NULL)
        return FALSE;
    Path->Length = 0;
    Path->MaximumLength = Length + sizeof(WCHAR);
    RtlCopyUnicodeString(Path, &Link->LinkTarget);
    RtlAppendUnicodeStringToString(Path, Rest);
    return TRUE;
}

static NTSTATUS ObpLookupDepth(POBJECT_DIRECTORY Root, PCUNICODE_STRING Name, ULONG Attributes,
                               PVOID Insert, PVOID *Object, ULONG Depth);

static NTSTATUS ObpFollowLink(POBJECT_SYMBOLIC_LINK Link, PCUNICODE_STRING Rest, ULONG Attributes,
                              PVOID Insert, PVOID *Object, ULONG Depth)
{
    UNICODE_STRING Path;
    NTSTATUS Status;

    if (Depth == SYMBOLIC_LINK_DEPTH)
        return STATUS_OBJECT_NAME_INVALID;
    if (!ObpSubstituteLink(Link, Rest, &Path))
        return STATUS_INSUFFICIENT_RESOURCES;
    Status = ObpLookupDepth(NULL, &Path, Attributes, Insert, Object, Depth + 1);
    ExFreePoolWithTag(Path.Buffer, OB_NAME_TAG);
    return Status;
}

static NTSTATUS ObpLookupDepth(POBJECT_DIRECTORY Root, PCUNICODE_STRING Name, ULONG Attributes,
                               PVOID Insert, PVOID *Object, ULONG Depth)
{
    POBJECT_DIRECTORY Directory = Root != NULL ? Root : ObpRootDirectoryObject;
    UNICODE_STRING Rest = *Name, Component;
    NTSTATUS Status;
    PVOID Found;

    if (Rest.Length == 0)
        return STATUS_OBJECT_NAME_INVALID;
    for (;;) {
        Component = ObpNextComponent(&Rest);
        if (Component.Length == 0)
            return STATUS_OBJECT_NAME_INVALID;
        Found = ObpLookupDirectoryEntry(Directory, &Component);
        if (Found == NULL) {
            if (Rest.Length != 0)
                return STATUS_OBJECT_PATH_NOT_FOUND;
            return Insert == NULL ? STATUS_OBJECT_NAME_NOT_FOUND
                                  : ObpInsertDirectoryEntry(Directory, &Component, Insert);
        }
        if (ObGetObjectType(Found) == ObpSymbolicLinkObjectType &&
            (Rest.Length != 0 || (Insert == NULL && !(Attributes & OBJ_OPENLINK)))) {
            Status = ObpFollowLink(Found, &Rest, Attributes, Insert, Object, Depth);
            ObDereferenceObject(Found);
            return Status;
        }
        if (Rest.Length == 0)
            break;
        // The directory above keeps this one alive: directories are permanent.
        ObDereferenceObject(Found);
        if (ObGetObjectType(Found) != ObpDirectoryObjectType)
            return STATUS_OBJECT_PATH_NOT_FOUND;
        Directory = Found;
    }
    if (Insert != NULL) {
        ObDereferenceObject(Found);
        return STATUS_OBJECT_NAME_COLLISION;
    }
    *Object = Found;
    return STATUS_SUCCESS;
}

// Walks the path. Without Insert, *Object is the referenced object at its end; with Insert, that
// object is entered there.
NTSTATUS ObpLookupObjectName(POBJECT_DIRECTORY Root, PCUNICODE_STRING Name, ULONG Attributes,
                             PVOID Insert, PVOID *Object)
{
    return ObpLookupDepth(Root, Name, Attributes, Insert, Object, 0);
}

POBJECT_DIRECTORY ObpCreateDirectory(PCWSTR Path)
{
    OBJECT_ATTRIBUTES Attributes;
    UNICODE_STRING Name;
    PVOID Directory;

    RtlInitUnicodeString(&Name, Path);
    InitializeObjectAttributes(&Attributes, &Name, OBJ_PERMANENT | OBJ_CASE_INSENSITIVE);
    if (!NT_SUCCESS(ObCreateObject(KernelMode, ObpDirectoryObjectType, &Attributes, KernelMode,
                                   NULL, sizeof(OBJECT_DIRECTORY), 0, 0, &Directory)))
        return NULL;
    ((POBJECT_DIRECTORY)Directory)->SessionId = MAXULONG;
    // The root has a name and stands in no directory.
    if (ObpRootDirectoryObject == NULL)
        return Directory;
    return NT_SUCCESS(ObInsertObject(Directory, NULL, 0, 0, NULL, NULL)) ? Directory : NULL;
}
