// I/O manager.
#pragma once
#include "../ob/ob.h"

#define IO_TYPE_DEVICE 3
#define IO_TYPE_DRIVER 4
#define IO_TYPE_FILE 5
#define IO_TYPE_IRP 6
#define IO_TYPE_DEVICE_OBJECT_EXTENSION 13

#define DRVO_UNLOAD_INVOKED 0x01
#define DRVO_LEGACY_DRIVER 0x02
#define DRVO_INITIALIZED 0x10
#define DO_EXCLUSIVE 0x08
#define DO_DEVICE_HAS_NAME 0x40
#define DOE_UNLOAD_PENDING 0x01
#define DOE_DELETE_PENDING 0x02


extern POBJECT_TYPE IoDriverObjectType;
extern POBJECT_TYPE IoDeviceObjectType;
extern POBJECT_TYPE IoFileObjectType;
extern POBJECT_TYPE IoAdapterObjectType;
extern POBJECT_TYPE IoControllerObjectType;

// driver.c
VOID IopDeleteDriver(PVOID Object);
NTSTATUS IopLoadDriver(PCUNICODE_STRING ServiceName);
NTSTATUS IopInitializeBuiltinDriver(PKLDR_DATA_TABLE_ENTRY Entry);

// loader.c: path of a service's registry key
NTSTATUS NtLoadDriver(PUNICODE_STRING DriverServiceName);
NTSTATUS NtUnloadDriver(PUNICODE_STRING DriverServiceName);

// device.c
VOID IopDeleteDevice(PVOID Object);
VOID IopReadyDeviceObjects(PDRIVER_OBJECT Driver);
BOOLEAN IopCheckUnloadDriver(PDRIVER_OBJECT Driver);

// file.c
VOID IopDeleteFile(PVOID Object);

// irp.c
VOID IopInitializeIrpLookasideLists(VOID);
NTSTATUS IopInvalidDeviceRequest(PDEVICE_OBJECT Device, PIRP Irp);
