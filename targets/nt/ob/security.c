// Security descriptors of objects. Equal ones are kept once: objects refer to the common copy.
#include "ob.h"
#include "../se/se.h"

#define TAG_SECURITY 'cSbO'                 // "ObSc"

typedef struct _SECURITY_DESCRIPTOR_HEADER {
    LIST_ENTRY Link;
    ULONG RefCount;
    ULONG FullHash;
    _Alignas(16) QUAD SecurityDescriptor;   // its low address bits are an EX_FAST_REF's count
} SECURITY_DESCRIPTOR_HEADER, *PSECURITY_DESCRIPTOR_HEADER;

static LIST_ENTRY ObsSecurityDescriptorCache = {&ObsSecurityDescriptorCache,
                                                &ObsSecurityDescriptorCache};
static EX_PUSH_LOCK ObsSecurityDescriptorLock;

static ULONG ObpHashBytes(const UCHAR *Bytes, ULONG Length)
{
    ULONG Hash = 0;

    for (ULONG i = 0; i < Length; i++)
        Hash = (Hash << 5 | Hash >> 27) ^ Bytes[i];
    return Hash;
}

static PSECURITY_DESCRIPTOR_HEADER ObpFindSecurityDescriptor(ULONG Hash)
{
    for (PLIST_ENTRY Link = ObsSecurityDescriptorCache.Flink; Link != &ObsSecurityDescriptorCache;
         Link = Link->Flink) {
        PSECURITY_DESCRIPTOR_HEADER Header =
            CONTAINING_RECORD(Link, SECURITY_DESCRIPTOR_HEADER, Link);

        if (Header->FullHash == Hash)
            return Header;
    }
    return NULL;
}

// The descriptor is copied. FALSE when there is no memory: the object then has none.
BOOLEAN ObSetSecurityDescriptor(PVOID Object, PVOID Descriptor, ULONG Length)
{
    ULONG Hash = ObpHashBytes(Descriptor, Length);
    PSECURITY_DESCRIPTOR_HEADER Header;

    ExAcquirePushLockExclusive(&ObsSecurityDescriptorLock);
    Header = ObpFindSecurityDescriptor(Hash);
    if (Header == NULL ||
        RtlCompareMemory(&Header->SecurityDescriptor, Descriptor, Length) != Length) {
        Header = ExAllocatePoolWithTag(
            PagedPool, FIELD_OFFSET(SECURITY_DESCRIPTOR_HEADER, SecurityDescriptor) + Length,
            TAG_SECURITY);
        if (Header != NULL) {
            Header->RefCount = 0;
            Header->FullHash = Hash;
            memcpy(&Header->SecurityDescriptor, Descriptor, Length);
            InsertTailList(&ObsSecurityDescriptorCache, &Header->Link);
        }
    }
    if (Header != NULL) {
        Header->RefCount += MAX_FAST_REFS + 1;
        OBJECT_TO_OBJECT_HEADER(Object)->SecurityDescriptor =
            (PVOID)((ULONG64)&Header->SecurityDescriptor | MAX_FAST_REFS);
    }
    ExReleasePushLockExclusive(&ObsSecurityDescriptorLock);
    return Header != NULL;
}

VOID ObpDereferenceSecurityDescriptor(POBJECT_HEADER Object)
{
    ULONG64 Descriptor = (ULONG64)Object->SecurityDescriptor & ~(ULONG64)MAX_FAST_REFS;
    PSECURITY_DESCRIPTOR_HEADER Header =
        CONTAINING_RECORD(Descriptor, SECURITY_DESCRIPTOR_HEADER, SecurityDescriptor);

    if (Descriptor == 0)
        return;
    Object->SecurityDescriptor = NULL;
    ExAcquirePushLockExclusive(&ObsSecurityDescriptorLock);
    Header->RefCount -= MAX_FAST_REFS + 1;
    if (Header->RefCount == 0) {
        RemoveEntryList(&Header->Link);
        ExFreePoolWithTag(Header, TAG_SECURITY);
    }
    ExReleasePushLockExclusive(&ObsSecurityDescriptorLock);
}
