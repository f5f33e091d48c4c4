// Globals that debuggers read by name and whose components this kernel does not have.
#include "ntos.h"

PVOID EtwpDebuggerData = NULL;
LIST_ENTRY CmpHiveListHead = {&CmpHiveListHead, &CmpHiveListHead};
PVOID CmpMasterHive = NULL;
UNICODE_STRING CmCSDVersionString = {0};
ULONG CmNtSpBuildNumber = 0;
LIST_ENTRY PopIrpList = {&PopIrpList, &PopIrpList};
ULONG KiServiceLimit = 0;
LONG KiServiceTable[1] = {0};
KSERVICE_TABLE_DESCRIPTOR KeServiceDescriptorTable[4] = {{KiServiceTable, NULL, 0, NULL}};
KSERVICE_TABLE_DESCRIPTOR KeServiceDescriptorTableShadow[4] = {{KiServiceTable, NULL, 0, NULL}};
