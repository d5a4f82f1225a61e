/** The repository that holds lists of what the routers' base systems provide (`rpm -qa --provides`), one file for each. */
export const PLATFORM = 'platform';
