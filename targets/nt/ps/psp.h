// The process manager's own declarations.
#pragma once
#include "se/se.h"

typedef VOID PSP_SYSTEM_ROUTINE(PKSTART_ROUTINE Start, PVOID Context);

HANDLE PspCreateCid(PVOID Object);          // the next free multiple of four; NULL when out of memory
NTSTATUS PspCreateProcess(PCSTR ImageName, PEPROCESS Parent, ULONG64 DirectoryTableBase,
                          KPRIORITY BasePriority, PTOKEN Token, PEPROCESS *Process);
FORCEINLINE PTOKEN PspTokenOf(PEPROCESS Process)
{
    return (PTOKEN)(Process->Token.Value & ~(ULONG64)MAX_FAST_REFS);
}
VOID PspChargeQuota(PEPROCESS Process, POOL_TYPE Pool, SIZE_T Amount);
NTSTATUS PspAllocateThread(PEPROCESS Process, PSP_SYSTEM_ROUTINE *SystemRoutine,
                           PKSTART_ROUTINE Start, PVOID Context, PETHREAD *Thread);
VOID PspInsertThread(PETHREAD Thread);
NTSTATUS PspCreateThread(PEPROCESS Process, PSP_SYSTEM_ROUTINE *SystemRoutine,
                         PKSTART_ROUTINE Start, PVOID Context, PETHREAD *Thread);
VOID PspNameThread(PETHREAD Thread, PCWSTR Name);
VOID PspThreadDelete(PVOID Object);
VOID PspProcessDelete(PVOID Object);
