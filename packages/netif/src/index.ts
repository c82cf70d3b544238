/** Network split driver: frontend, backend, bridge and packet captures. */
export {};
