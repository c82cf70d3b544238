/** Block split driver: frontend, backend and the disks it serves. */
export {};
