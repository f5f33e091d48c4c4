// Timers. Each processor keeps the timers set on it, hashed by due time, and programs its clock for
// the earliest; there is no periodic tick.
#include "ki.h"

#define NO_DUE_TIME MAXULONG64

ULONG64 KiClockDue[MAXIMUM_PROCESSORS] = {0};      // what each clock is programmed for; 0: nothing
static ULONG64 KiEarliestDue[MAXIMUM_PROCESSORS];  // of each processor's timer table

static PKTIMER_TABLE_ENTRY KiTimerEntry(PKPRCB Prcb, ULONG64 DueTime)
{
    return &Prcb->TimerTable.TimerEntries[0][DueTime >> 18 & 0xFF];
}

VOID KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type)
{
    memset(Timer, 0, sizeof(*Timer));
    Timer->Header.TimerType = (UCHAR)(TimerNotificationObject + Type);
    Timer->Header.Size = sizeof(KTIMER) / sizeof(ULONG);
    InitializeListHead(&Timer->Header.WaitListHead);
}

VOID KeInitializeTimer(PKTIMER Timer)
{
    KeInitializeTimerEx(Timer, NotificationTimer);
}

static VOID KiFindEarliestTimer(PKPRCB Prcb)
{
    ULONG64 Due = NO_DUE_TIME;

    for (ULONG i = 0; i < 256; i++)
        if (Prcb->TimerTable.TimerEntries[0][i].Time.QuadPart < Due)
            Due = Prcb->TimerTable.TimerEntries[0][i].Time.QuadPart;
    KiEarliestDue[Prcb->Number] = Due;
}

VOID KiInitializeTimerTable(PKPRCB Prcb)
{
    for (ULONG type = 0; type < 2; type++)
        for (ULONG i = 0; i < 256; i++) {
            InitializeListHead(&Prcb->TimerTable.TimerEntries[type][i].Entry);
            Prcb->TimerTable.TimerEntries[type][i].Time.QuadPart = NO_DUE_TIME;
        }
    KiEarliestDue[Prcb->Number] = NO_DUE_TIME;
}

ULONG64 KiNextTimerDue(PKPRCB Prcb)
{
    return KiEarliestDue[Prcb->Number];
}

static VOID KiLinkTimer(PKPRCB Prcb, PKTIMER Timer)
{
    PKTIMER_TABLE_ENTRY Table = KiTimerEntry(Prcb, Timer->DueTime.QuadPart);
    PLIST_ENTRY Entry = Table->Entry.Blink;

    while (Entry != &Table->Entry &&
           CONTAINING_RECORD(Entry, KTIMER, TimerListEntry)->DueTime.QuadPart >
               Timer->DueTime.QuadPart)
        Entry = Entry->Blink;
    InsertHeadList(Entry, &Timer->TimerListEntry);
    Timer->Header.Inserted = 1;
    Timer->Header.Hand = (UCHAR)(Timer->DueTime.QuadPart >> 18);
    Timer->Processor = (USHORT)Prcb->Number;
    Table->Time.QuadPart =
        CONTAINING_RECORD(Table->Entry.Flink, KTIMER, TimerListEntry)->DueTime.QuadPart;
    if (Timer->DueTime.QuadPart < KiEarliestDue[Prcb->Number])
        KiEarliestDue[Prcb->Number] = Timer->DueTime.QuadPart;
}

// False when the time has come already. Relative times are negative; absolute ones are FILETIMEs.
BOOLEAN KiInsertTimer(PKTIMER Timer, LARGE_INTEGER DueTime)
{
    PKPRCB Prcb = KeGetCurrentPrcb();
    ULONG64 Now = HalpQueryTime(), Due;

    Timer->Header.SignalState = 0;
    Timer->Header.Absolute = DueTime.QuadPart >= 0;
    if (DueTime.QuadPart < 0)
        Due = Now + (ULONG64)-DueTime.QuadPart;
    else
        Due = (ULONG64)DueTime.QuadPart > KiBootTime ? DueTime.QuadPart - KiBootTime : 0;
    Timer->DueTime.QuadPart = Due;
    if (Due <= Now) {
        Timer->Header.SignalState = 1;
        return FALSE;
    }
    KiLinkTimer(Prcb, Timer);
    KiProgramClock(Prcb);
    return TRUE;
}

BOOLEAN KiRemoveTimer(PKTIMER Timer)
{
    PKTIMER_TABLE_ENTRY Table;
    PKPRCB Prcb;

    if (!Timer->Header.Inserted)
        return FALSE;
    Prcb = KiProcessorBlock[Timer->Processor];
    Table = KiTimerEntry(Prcb, Timer->DueTime.QuadPart);
    Timer->Header.Inserted = 0;
    RemoveEntryList(&Timer->TimerListEntry);
    Table->Time.QuadPart = IsListEmpty(&Table->Entry) ? NO_DUE_TIME :
        CONTAINING_RECORD(Table->Entry.Flink, KTIMER, TimerListEntry)->DueTime.QuadPart;
    if (Timer->DueTime.QuadPart == KiEarliestDue[Prcb->Number])
        KiFindEarliestTimer(Prcb);
    return TRUE;
}

// KTIMER.Dpc is kept scrambled, so that an overrun cannot plant a routine. NULL stays NULL.
static PKDPC KiEncodeTimerDpc(PKTIMER Timer, PKDPC Dpc)
{
    ULONG64 v = __builtin_bswap64((ULONG64)Dpc ^ KiWaitAlways) ^ (ULONG64)Timer;

    return Dpc ? (PKDPC)(__builtin_rotateright64(v, KiWaitNever & 0x3F) ^ KiWaitNever) : NULL;
}

static PKDPC KiDecodeTimerDpc(PKTIMER Timer)
{
    ULONG64 v = __builtin_rotateleft64((ULONG64)Timer->Dpc ^ KiWaitNever, KiWaitNever & 0x3F);

    return Timer->Dpc ? (PKDPC)(__builtin_bswap64(v ^ (ULONG64)Timer) ^ KiWaitAlways) : NULL;
}

static VOID KiSignalTimer(PKTIMER Timer)
{
    PKDPC Dpc = KiDecodeTimerDpc(Timer);

    Timer->Header.SignalState = 1;
    KiWaitTest(&Timer->Header);
    if (Timer->Period) {
        Timer->DueTime.QuadPart += (ULONG64)Timer->Period * 10000;
        KiLinkTimer(KeGetCurrentPrcb(), Timer);
    }
    if (Dpc)
        KeInsertQueueDpc(Dpc, NULL, NULL);
}

BOOLEAN KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    BOOLEAN WasSet = KiRemoveTimer(Timer);

    Timer->Dpc = KiEncodeTimerDpc(Timer, Dpc);
    Timer->Period = (ULONG)Period;
    if (!KiInsertTimer(Timer, DueTime))
        KiSignalTimer(Timer);
    KiExitDispatcher(OldIrql);
    return WasSet;
}

BOOLEAN KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc)
{
    return KeSetTimerEx(Timer, DueTime, 0, Dpc);
}

BOOLEAN KeCancelTimer(PKTIMER Timer)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    BOOLEAN WasSet = KiRemoveTimer(Timer);

    KiExitDispatcher(OldIrql);
    return WasSet;
}

BOOLEAN KeReadStateTimer(PKTIMER Timer)
{
    return Timer->Header.SignalState != 0;
}

// Expired timers in due order; DISPATCH_LEVEL, no lock held.
VOID KiTimerExpiration(PKPRCB Prcb)
{
    KeAcquireSpinLockAtDpcLevel(&KiDispatcherLock);
    KiUnrequest(Prcb, DPC_TIMER_EXPIRATION);
    for (;;) {
        ULONG64 Due = KiNextTimerDue(Prcb);
        PKTIMER Timer;

        if (Due > HalpQueryTime())
            break;
        Timer = CONTAINING_RECORD(KiTimerEntry(Prcb, Due)->Entry.Flink, KTIMER, TimerListEntry);
        KiRemoveTimer(Timer);
        KiSignalTimer(Timer);
    }
    KiProgramClock(Prcb);
    KiReleaseDispatcherLock();
}

// The next clock interrupt: the earliest timer, or the end of the quantum when another thread is
// ready to take this one's place.
VOID KiProgramClock(PKPRCB Prcb)
{
    ULONG64 Due = KiNextTimerDue(Prcb);
    PKTHREAD Thread = Prcb->CurrentThread;

    if (Thread != Prcb->IdleThread && Prcb->ReadySummary >> Thread->Priority &&
        !Prcb->QuantumEnd && Thread->QuantumTarget < Due)
        Due = Thread->QuantumTarget;
    if (Due == NO_DUE_TIME)
        Due = 0;
    if (KiClockDue[Prcb->Number] != Due) {  // the machine call is dear
        KiClockDue[Prcb->Number] = Due;
        HalpMachineCall(ServiceSetClock, Due, 0, 0, 0);
    }
}
