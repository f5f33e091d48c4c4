// Object manager.
#pragma once
#include "../ex/ex.h"

#define OB_NAME_TAG 'mNbO'         // "ObNm"
#define OB_TYPE_TAG 'TjbO'         // "ObjT"
#define OB_CREATE_INFO_TAG 'iCbO'  // "ObCi"
#define OB_DIRECTORY_TAG 'iDbO'    // "ObDi"

// _OBJECT_HEADER.InfoMask
#define OB_INFO_CREATOR 0x01
#define OB_INFO_NAME 0x02
#define OB_INFO_HANDLE 0x04
#define OB_INFO_QUOTA 0x08
#define OB_INFO_PROCESS 0x10

#define OBJ_PERMANENT 0x10
#define OBJ_EXCLUSIVE 0x20
#define OBJ_OPENIF 0x80
#define OBJ_OPENLINK 0x100

// References that an EX_FAST_REF gives out without the counted object: they are taken beforehand.
#define MAX_FAST_REFS 15

#define OBJECT_TO_OBJECT_HEADER(o) CONTAINING_RECORD(o, OBJECT_HEADER, Body)
#define NUMBER_HASH_BUCKETS 37

typedef VOID OB_DELETE_METHOD(PVOID Object);
typedef VOID OB_CLOSE_METHOD(PEPROCESS Process, PVOID Object, ULONG64 ProcessHandleCount,
                             ULONG64 SystemHandleCount);

extern POBJECT_TYPE ObTypeIndexTable[256];
extern UCHAR ObHeaderCookie;
extern UCHAR ObpInfoMaskToOffset[256];
extern POBJECT_TYPE ExEventObjectType, ExMutantObjectType, ExSemaphoreObjectType;
extern POBJECT_TYPE IoCompletionObjectType, MmSessionObjectType;
extern POBJECT_TYPE ObpDirectoryObjectType;
extern POBJECT_TYPE ObpSymbolicLinkObjectType;
extern POBJECT_DIRECTORY ObpTypeDirectoryObject;
extern PHANDLE_TABLE ObpKernelHandleTable;

FORCEINLINE VOID InitializeObjectAttributes(POBJECT_ATTRIBUTES p, PUNICODE_STRING Name, ULONG Flags)
{
    memset(p, 0, sizeof(*p));
    p->Length = sizeof(*p);
    p->ObjectName = Name;
    p->Attributes = Flags;
}

// object.c
POBJECT_TYPE ObGetObjectType(PVOID Object);
VOID ObpSetTypeIndex(POBJECT_HEADER Header, POBJECT_TYPE Type);
PVOID ObpInfoHeader(POBJECT_HEADER Header, UCHAR Bit);   // NULL when the object has none
VOID ObpRemoveObjectRoutine(POBJECT_HEADER Header);
VOID ObMakeTemporaryObject(PVOID Object);
LONG_PTR ObReferenceObjectEx(PVOID Object, ULONG References);
LONG_PTR ObDereferenceObjectEx(PVOID Object, ULONG References);
NTSTATUS ObReferenceObjectByPointer(PVOID Object, ACCESS_MASK Access, POBJECT_TYPE Type,
                                    KPROCESSOR_MODE Mode);
NTSTATUS ObReferenceObjectByName(PUNICODE_STRING Name, ULONG Attributes, PVOID AccessState,
                                 ACCESS_MASK Access, POBJECT_TYPE Type, KPROCESSOR_MODE Mode,
                                 PVOID ParseContext, PVOID *Object);

// directory.c
POBJECT_DIRECTORY ObpCreateDirectory(PCWSTR Path);
PVOID ObpLookupDirectoryEntry(POBJECT_DIRECTORY Directory, PCUNICODE_STRING Name);
BOOLEAN ObpDeleteDirectoryEntry(POBJECT_DIRECTORY Directory, PVOID Object);
NTSTATUS ObpLookupObjectName(POBJECT_DIRECTORY Root, PCUNICODE_STRING Name, ULONG Attributes,
                             PVOID Insert, PVOID *Object);

// link.c
NTSTATUS ObpCreateSymbolicLink(PUNICODE_STRING Name, PUNICODE_STRING Target);
VOID ObpDeleteSymbolicLink(PVOID Object);

// handle.c
NTSTATUS ObpCreateHandle(PVOID Object, ULONG Attributes, ACCESS_MASK Access, PHANDLE Handle);
HANDLE ObpInsertHandle(PHANDLE_TABLE Table, PVOID Object, ULONG Attributes, ACCESS_MASK Access);
NTSTATUS ObOpenObjectByPointer(PVOID Object, ULONG Attributes, PVOID AccessState,
                               ACCESS_MASK Access, POBJECT_TYPE Type, KPROCESSOR_MODE Mode,
                               PHANDLE Handle);
NTSTATUS ObpCloseHandle(HANDLE Handle);

// security.c
BOOLEAN ObSetSecurityDescriptor(PVOID Object, PVOID Descriptor, ULONG Length);
VOID ObpDereferenceSecurityDescriptor(POBJECT_HEADER Header);
