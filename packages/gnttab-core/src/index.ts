/** Machine memory, grant tables, event channels, hypercalls, rings and the guest API. */
export {};
