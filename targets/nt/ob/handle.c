// Handles. Callers are kernel code, so the handles they open are kernel handles: they live in
// System's table and have the sign bits set. The process manager fills other tables.
#include "ob.h"

#define KERNEL_HANDLE_BITS 0xFFFFFFFF80000000ull
#define OBJ_INHERIT 2                      // the same bit in a handle table entry
#define NtCurrentProcess ((HANDLE)-1)
#define NtCurrentThread ((HANDLE)-2)

PHANDLE_TABLE ObpKernelHandleTable;

VOID ObpDecrementHandleCount(PVOID Object);

static HANDLE ObpTableHandle(HANDLE Handle)
{
    return (HANDLE)((ULONG64)Handle & ~KERNEL_HANDLE_BITS);
}

static BOOLEAN ObpIsKernelHandle(HANDLE Handle)
{
    return ((ULONG64)Handle & KERNEL_HANDLE_BITS) == KERNEL_HANDLE_BITS;
}

// NULL when the table cannot grow. The handle keeps a reference of its own.
HANDLE ObpInsertHandle(PHANDLE_TABLE Table, PVOID Object, ULONG Attributes, ACCESS_MASK Access)
{
    POBJECT_HEADER Header = OBJECT_TO_OBJECT_HEADER(Object);
    POBJECT_TYPE Type = ObGetObjectType(Object);
    HANDLE New;

    ObReferenceObject(Object);
    InterlockedIncrement64(&Header->HandleCount);
    New = ExCreateHandle(Table, Header, Attributes & OBJ_INHERIT, Access);
    if (New == NULL) {
        InterlockedExchangeAdd64(&Header->HandleCount, -1);
        ObDereferenceObject(Object);
        return NULL;
    }
    if (InterlockedIncrement((PLONG)&Type->TotalNumberOfHandles) >
        (LONG)Type->HighWaterNumberOfHandles)
        Type->HighWaterNumberOfHandles = Type->TotalNumberOfHandles;
    return New;
}

NTSTATUS ObpCreateHandle(PVOID Object, ULONG Attributes, ACCESS_MASK Access, PHANDLE Handle)
{
    HANDLE New = ObpInsertHandle(ObpKernelHandleTable, Object, Attributes, Access);

    if (New == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    *Handle = (HANDLE)((ULONG64)New | KERNEL_HANDLE_BITS);
    return STATUS_SUCCESS;
}

NTSTATUS ObOpenObjectByPointer(PVOID Object, ULONG Attributes, PVOID AccessState,
                               ACCESS_MASK Access, POBJECT_TYPE Type, KPROCESSOR_MODE Mode,
                               PHANDLE Handle)
{
    if (Type != NULL && ObGetObjectType(Object) != Type)
        return STATUS_OBJECT_TYPE_MISMATCH;
    return ObpCreateHandle(Object, Attributes, Access, Handle);
}

NTSTATUS ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK Access, POBJECT_TYPE Type,
                                   KPROCESSOR_MODE Mode, PVOID *Object, PVOID Info)
{
    PHANDLE_TABLE_ENTRY Entry;
    PVOID Body;

    if (Handle == NtCurrentProcess || Handle == NtCurrentThread) {
        Body = Handle == NtCurrentProcess ? (PVOID)PsGetCurrentProcess() : KeGetCurrentThread();
        *Object = Body;
        return ObReferenceObjectByPointer(Body, Access, Type, Mode);
    }
    if (!ObpIsKernelHandle(Handle))
        return STATUS_INVALID_HANDLE;
    Entry = ExMapHandleToPointer(ObpKernelHandleTable, ObpTableHandle(Handle));
    if (Entry == NULL)
        return STATUS_INVALID_HANDLE;
    Body = &((POBJECT_HEADER)ExHandleEntryObject(Entry))->Body;
    if (Type != NULL && ObGetObjectType(Body) != Type) {
        ExUnlockHandleTableEntry(ObpKernelHandleTable, Entry);
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    ObReferenceObject(Body);
    ExUnlockHandleTableEntry(ObpKernelHandleTable, Entry);
    *Object = Body;
    return STATUS_SUCCESS;
}

NTSTATUS ObpCloseHandle(HANDLE Handle)
{
    PHANDLE_TABLE_ENTRY Entry;
    POBJECT_HEADER Header;

    if (!ObpIsKernelHandle(Handle))
        return STATUS_INVALID_HANDLE;
    Entry = ExMapHandleToPointer(ObpKernelHandleTable, ObpTableHandle(Handle));
    if (Entry == NULL)
        return STATUS_INVALID_HANDLE;
    Header = ExHandleEntryObject(Entry);
    ExUnlockHandleTableEntry(ObpKernelHandleTable, Entry);
    if (!ExDestroyHandle(ObpKernelHandleTable, ObpTableHandle(Handle)))
        return STATUS_INVALID_HANDLE;
    ObpDecrementHandleCount(&Header->Body);
    ObDereferenceObject(&Header->Body);
    return STATUS_SUCCESS;
}

NTSTATUS ZwClose(HANDLE Handle)
{
    return ObpCloseHandle(Handle);
}
