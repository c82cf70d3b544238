/** Security catalogue, grant tables: every case is a test of this folder, or is none of ours for a reason. */
import { checkCatalogue } from './catalogue.ts';

/** Cases that nothing here can have, and why. */
const notOurs: Readonly<Record<string, string>> = {
  'GT-53':
    'speculative execution: the hypervisor is a library, and its guests do not share a processor with secrets',
  'GT-55': 'IOMMU: a device mapping is counted, but no I/O page table is filled for it',
  'GT-56': 'Arm’s stage 2 tables: the translated domains here follow x86',
};

checkCatalogue('grant table cases', 'GT', 59, /^grant-.*\.test\.ts$/, notOurs);
