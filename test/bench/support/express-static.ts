/** A peer: `express.static` as its documentation shows it. `node express-static.ts FOLDER PORT` */
import express from 'express';

const [folder = '.', port = '0'] = process.argv.slice(2);
express().use(express.static(folder)).listen(Number(port), '127.0.0.1');
