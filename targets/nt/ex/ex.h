// Executive: what its files share with each other and with ob, io and vf.
#pragma once
#include "../rtl/rtl.h"

// Bug checks of the pool.
#define BAD_POOL_HEADER 0x19
#define BAD_POOL_CALLER 0xC2
#define KERNEL_MODE_HEAP_CORRUPTION 0x13A

// Pool types, beyond the enumeration.
#define POOL_BASE_TYPE_MASK 1
#define POOL_MUST_SUCCEED 2
#define POOL_CACHE_ALIGNED 4
#define POOL_QUOTA_FAIL_INSTEAD_OF_RAISE 8
#define POOL_RAISE_IF_ALLOCATION_FAILURE 0x10
#define POOL_SESSION 0x20
#define POOL_VERIFIER 0x40          // the block ends with a _VI_VERIFIER_POOL_HEADER
#define POOL_NX 0x200
#define POOL_ZERO_ALLOCATION 0x400

// The PoolType byte of a _POOL_HEADER: these bits of the type, plus "in use".
#define POOL_HEADER_TYPE_BITS 0x6D
#define POOL_HEADER_IN_USE 2
#define POOL_HEADER_QUOTA 8
#define PROTECTED_POOL 0x80000000   // in a tag: the block must be freed with its tag

#define POOL_BLOCK_SHIFT 4
#define POOL_BLOCK_SIZE 16
// The largest request that gets a _POOL_HEADER: BlockSize has 8 bits.
#define POOL_SMALL_MAX (0xFF * POOL_BLOCK_SIZE - sizeof(POOL_HEADER))

typedef enum _EX_POOL_PRIORITY {
    LowPoolPriority = 0,
    LowPoolPrioritySpecialPoolOverrun = 8,
    LowPoolPrioritySpecialPoolUnderrun = 9,
    NormalPoolPriority = 16,
    NormalPoolPrioritySpecialPoolOverrun = 24,
    NormalPoolPrioritySpecialPoolUnderrun = 25,
    HighPoolPriority = 32,
    HighPoolPrioritySpecialPoolOverrun = 40,
    HighPoolPrioritySpecialPoolUnderrun = 41,
} EX_POOL_PRIORITY;

// pool.c
extern EX_POOL_HEAP_MANAGER_STATE ExPoolState;
extern ULONG ExPoolFailures;
PVOID ExAllocatePoolWithTagPriority(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                    EX_POOL_PRIORITY Priority);
PVOID ExAllocateHeapPool(ULONG PoolType, SIZE_T NumberOfBytes, ULONG Tag);
VOID ExFreeHeapPool(PVOID P, ULONG Tag);
BOOLEAN ExpPoolFlagsToPoolType(ULONG64 Flags, PULONG PoolType);
SIZE_T ExQueryPoolBlockSize(PVOID P, PBOOLEAN QuotaCharged);

// pooltag.c
#define POOL_TAG_TABLES 0x500       // one tracker table per processor, at most
#define POOL_HEADER_TAG 'looP'      // "Pool": the pool's own tables
extern SIZE_T PoolTrackTableSize;
extern SIZE_T PoolTrackTableMask;
extern PPOOL_TRACKER_TABLE ExPoolTagTables[POOL_TAG_TABLES];
VOID ExpInitPoolTagTables(ULONG Processors);
VOID ExpInsertPoolTrackerExpansion(ULONG Key, SIZE_T NumberOfBytes, ULONG PoolType);
VOID ExpRemovePoolTrackerExpansion(ULONG Key, SIZE_T NumberOfBytes, ULONG PoolType);
PPOOL_TRACKER_TABLE ExpFindPoolTracker(ULONG Key, BOOLEAN Insert);
FORCEINLINE VOID ExpChargePoolTracker(PPOOL_TRACKER_TABLE Entry, LONG64 Bytes, ULONG PoolType)
{
    PULONG64 Counter = PoolType & PagedPool ? &Entry->PagedBytes : &Entry->NonPagedBytes;

    InterlockedExchangeAdd64((LONG64 *)Counter, Bytes);
    InterlockedIncrement64((LONG64 *)(Counter + (Bytes < 0 ? 2 : 1)));   // Bytes, Allocs, Frees
}
BOOLEAN ExpAddTagForBigPages(PVOID Va, ULONG Key, SIZE_T NumberOfBytes, ULONG PoolType,
                             ULONG SlushSize);
BOOLEAN ExpQueryBigPages(PVOID Va, PPOOL_TRACKER_BIG_PAGES Entry);
BOOLEAN ExpRemoveTagForBigPages(PVOID Va, PPOOL_TRACKER_BIG_PAGES Entry);

// lookaside.c
extern LIST_ENTRY ExNPagedLookasideListHead;
extern LIST_ENTRY ExPagedLookasideListHead;
extern LIST_ENTRY ExPoolLookasideListHead;
VOID ExpInitLookasideLists(VOID);
typedef enum _PP_NPAGED_LOOKASIDE_NUMBER {
    LookasideSmallIrpList,
    LookasideMediumIrpList,
    LookasideLargeIrpList,
    LookasideMdlList,
    LookasideCreateInfoList,
    LookasideNameBufferList,
    LookasideTwilightList,
    LookasideCompletionList,
    LookasideScratchBufferList,
    LookasideMaximumList,
} PP_NPAGED_LOOKASIDE_NUMBER;
VOID ExpInitializeProcessorLookaside(PP_NPAGED_LOOKASIDE_NUMBER Number, SIZE_T Size, ULONG Tag);
PVOID ExpAllocateFromProcessorLookaside(PP_NPAGED_LOOKASIDE_NUMBER Number);
VOID ExpFreeToProcessorLookaside(PP_NPAGED_LOOKASIDE_NUMBER Number, PVOID Block);

// pushlock.c
VOID ExAcquirePushLockExclusive(PEX_PUSH_LOCK Lock);
VOID ExReleasePushLockExclusive(PEX_PUSH_LOCK Lock);

// resource.c
VOID ExpResourceInitialization(VOID);

// worker.c
VOID ExpWorkerInitialization(VOID);

// handle.c: tables of pointers to object headers
extern LIST_ENTRY HandleTableListHead;   // ps
PHANDLE_TABLE ExCreateHandleTable(PEPROCESS Process);
HANDLE ExCreateHandle(PHANDLE_TABLE Table, PVOID Object, ULONG Attributes, ACCESS_MASK Access);
PHANDLE_TABLE_ENTRY ExMapHandleToPointer(PHANDLE_TABLE Table, HANDLE Handle);
VOID ExUnlockHandleTableEntry(PHANDLE_TABLE Table, PHANDLE_TABLE_ENTRY Entry);
PVOID ExHandleEntryObject(const HANDLE_TABLE_ENTRY *Entry);
BOOLEAN ExDestroyHandle(PHANDLE_TABLE Table, HANDLE Handle);
