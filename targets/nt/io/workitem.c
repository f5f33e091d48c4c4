// Work items that belong to a device: the device stays while one is queued.
#include "io.h"

#define IO_WORKITEM_TAG 'iWoI'     // "IoWi"

typedef struct _IO_WORKITEM {
    WORK_QUEUE_ITEM WorkItem;
    IO_WORKITEM_ROUTINE *Routine;
    PVOID IoObject;
    PVOID Context;
    PETHREAD WorkOnBehalfThread;
    ULONG Type;
    GUID ActivityId;
} IO_WORKITEM;
_Static_assert(sizeof(IO_WORKITEM) == 0x58, "IO_WORKITEM");

static VOID IopProcessWorkItem(PVOID Parameter)
{
    PIO_WORKITEM Item = Parameter;
    PVOID Object = Item->IoObject;

    Item->Routine(Object, Item->Context);   // may free the item
    ObDereferenceObject(Object);
}

PIO_WORKITEM IoAllocateWorkItem(PDEVICE_OBJECT Device)
{
    PIO_WORKITEM Item = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*Item), IO_WORKITEM_TAG);

    if (Item == NULL)
        return NULL;
    memset(Item, 0, sizeof(*Item));
    Item->IoObject = Device;
    return Item;
}

VOID IoFreeWorkItem(PIO_WORKITEM Item)
{
    ExFreePoolWithTag(Item, IO_WORKITEM_TAG);
}

VOID IoQueueWorkItem(PIO_WORKITEM Item, IO_WORKITEM_ROUTINE *Routine, WORK_QUEUE_TYPE QueueType,
                     PVOID Context)
{
    Item->Routine = Routine;
    Item->Context = Context;
    ObReferenceObject(Item->IoObject);
    ExInitializeWorkItem(&Item->WorkItem, IopProcessWorkItem, Item);
    ExQueueWorkItem(&Item->WorkItem, QueueType);
}
