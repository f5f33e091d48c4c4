// Interlocked singly linked stacks (the x64 form: 16-bit depth, 48-bit sequence, pointer >> 4).
#include "rtl.h"

VOID RtlInitializeSListHead(SLIST_HEADER *Head)
{
    Head->Alignment = 0;
    Head->Region = 0;
}

SLIST_ENTRY *RtlFirstEntrySList(const SLIST_HEADER *Head)
{
    // Kernel addresses have their upper bits set, which the 60-bit field keeps except for four.
    return (SLIST_ENTRY *)(Head->Region & ~15ull);
}

// Replaces *Head by New when it still equals Old.
static BOOLEAN SListExchange(SLIST_HEADER *Head, const SLIST_HEADER *Old, const SLIST_HEADER *New)
{
    ULONG64 Low = Old->Alignment, High = Old->Region;
    BOOLEAN Done;

    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(Done), "+m"(*Head), "+a"(Low), "+d"(High)
                     : "b"(New->Alignment), "c"(New->Region)
                     : "memory");
    return Done;
}

SLIST_ENTRY *RtlpInterlockedPushEntrySList(SLIST_HEADER *Head, SLIST_ENTRY *Entry)
{
    SLIST_HEADER Old, New;

    do {
        Old = *Head;
        Entry->Next = RtlFirstEntrySList(&Old);
        New.Alignment = Old.Alignment;
        New.HeaderX64.Depth = Old.HeaderX64.Depth + 1;
        New.HeaderX64.Sequence = Old.HeaderX64.Sequence + 1;
        New.Region = (ULONG64)Entry;
    } while (!SListExchange(Head, &Old, &New));
    return Entry->Next;
}

SLIST_ENTRY *RtlpInterlockedPopEntrySList(SLIST_HEADER *Head)
{
    SLIST_HEADER Old, New;
    SLIST_ENTRY *Entry;

    do {
        Old = *Head;
        Entry = RtlFirstEntrySList(&Old);
        if (Entry == NULL)
            return NULL;
        New.Alignment = Old.Alignment;
        New.HeaderX64.Depth = Old.HeaderX64.Depth - 1;
        New.HeaderX64.Sequence = Old.HeaderX64.Sequence + 1;
        // Another processor may have taken Entry meanwhile; then this value is stale and the
        // sequence number makes the exchange fail. Pool pages under such lists stay mapped.
        New.Region = (ULONG64)Entry->Next;
    } while (!SListExchange(Head, &Old, &New));
    return Entry;
}
